//! Tensor names of ESM-2 checkpoints, as data.
//!
//! Two published layouts hold the same tensors: Hugging Face `transformers` and fair-esm. The
//! first is also what `models convert` writes.

use virnucpro_weights::{Checkpoint, NamePattern};

use crate::ModelError;

/// Names of one layout. Layer tensors are `{root}{layers}{index}.{name}.weight` and `.bias`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    /// Prefixes the encoder may stand under.
    roots: &'static [&'static str],
    /// Prefixes the language-model head may stand under.
    lm_roots: &'static [&'static str],
    word_embeddings: &'static str,
    layers: &'static str,
    query: &'static str,
    key: &'static str,
    value: &'static str,
    attention_output: &'static str,
    attention_norm: &'static str,
    fc1: &'static str,
    fc2: &'static str,
    ffn_norm: &'static str,
    final_norm: &'static str,
    lm_decoder: &'static str,
}

const HUGGING_FACE: Naming = Naming {
    roots: &["", "esm."],
    lm_roots: &["lm_head."],
    word_embeddings: "embeddings.word_embeddings",
    layers: "encoder.layer.",
    query: "attention.self.query",
    key: "attention.self.key",
    value: "attention.self.value",
    attention_output: "attention.output.dense",
    attention_norm: "attention.LayerNorm",
    fc1: "intermediate.dense",
    fc2: "output.dense",
    ffn_norm: "LayerNorm",
    final_norm: "encoder.emb_layer_norm_after",
    lm_decoder: "decoder.weight",
};

/// # Source
/// facebookresearch/esm: esm/pretrained.py, lines 164-183.
const FAIR_ESM: Naming = Naming {
    roots: &["encoder.sentence_encoder.", "encoder.", ""],
    lm_roots: &["encoder.lm_head.", "lm_head."],
    word_embeddings: "embed_tokens",
    layers: "layers.",
    query: "self_attn.q_proj",
    key: "self_attn.k_proj",
    value: "self_attn.v_proj",
    attention_output: "self_attn.out_proj",
    attention_norm: "self_attn_layer_norm",
    fc1: "fc1",
    fc2: "fc2",
    ffn_norm: "final_layer_norm",
    final_norm: "emb_layer_norm_after",
    lm_decoder: "weight",
};

/// Tensors that belong to no part of the forward: rotary frequencies (computed), position tables
/// of other variants, the contact head and the pooler.
pub(crate) fn left_over() -> [NamePattern<'static>; 7] {
    [
        NamePattern::Suffix("rot_emb.inv_freq"),
        NamePattern::Suffix("rotary_embeddings.inv_freq"),
        NamePattern::Suffix("embeddings.position_ids"),
        NamePattern::Suffix("embeddings.position_embeddings.weight"),
        NamePattern::Prefix("esm.contact_head."),
        NamePattern::Prefix("contact_head."),
        NamePattern::Prefix("pooler."),
    ]
}

/// The names of one checkpoint, prefixes resolved.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    naming: Naming,
    root: &'static str,
    lm_root: &'static str,
}

/// Names as Hugging Face's `EsmForMaskedLM` has them.
pub(crate) fn hugging_face_names() -> Names {
    Names { naming: HUGGING_FACE, root: "esm.", lm_root: "lm_head." }
}

/// The names of a checkpoint, or the error that says it is none of ESM-2.
pub(crate) fn detect_names(checkpoint: &Checkpoint) -> Result<Names, ModelError> {
    Names::detect(checkpoint).ok_or_else(|| {
        ModelError::config(checkpoint.source(), "no ESM-2 embedding table in this checkpoint")
    })
}

impl Names {
    /// Finds the layout of a checkpoint by its embedding table.
    fn detect(checkpoint: &Checkpoint) -> Option<Self> {
        [HUGGING_FACE, FAIR_ESM].into_iter().find_map(|naming| {
            let has = |prefix: &str, name: &str| checkpoint.contains(&format!("{prefix}{name}"));
            let embeddings = format!("{}.weight", naming.word_embeddings);
            let root = naming.roots.iter().find(|root| has(root, &embeddings))?;
            let lm_root = naming.lm_roots.iter().find(|root| has(root, "dense.weight"));
            Some(Self { naming, root, lm_root: lm_root.unwrap_or(&naming.lm_roots[0]) })
        })
    }

    fn layer(&self, layer: usize, part: &str) -> String {
        format!("{}{}{layer}.{part}", self.root, self.naming.layers)
    }

    pub(crate) fn word_embeddings(&self) -> String {
        format!("{}{}.weight", self.root, self.naming.word_embeddings)
    }

    /// q, k and v projections, in this order.
    pub(crate) fn qkv(&self, layer: usize) -> [String; 3] {
        [self.naming.query, self.naming.key, self.naming.value].map(|part| self.layer(layer, part))
    }

    pub(crate) fn attention_output(&self, layer: usize) -> String {
        self.layer(layer, self.naming.attention_output)
    }

    pub(crate) fn attention_norm(&self, layer: usize) -> String {
        self.layer(layer, self.naming.attention_norm)
    }

    pub(crate) fn fc1(&self, layer: usize) -> String {
        self.layer(layer, self.naming.fc1)
    }

    pub(crate) fn fc2(&self, layer: usize) -> String {
        self.layer(layer, self.naming.fc2)
    }

    pub(crate) fn ffn_norm(&self, layer: usize) -> String {
        self.layer(layer, self.naming.ffn_norm)
    }

    pub(crate) fn final_norm(&self) -> String {
        format!("{}{}", self.root, self.naming.final_norm)
    }

    /// A part of the language-model head: `dense`, `layer_norm`, `bias`.
    pub(crate) fn lm_head(&self, part: &str) -> String {
        format!("{}{part}", self.lm_root)
    }

    pub(crate) fn lm_decoder(&self) -> String {
        format!("{}{}", self.lm_root, self.naming.lm_decoder)
    }
}
