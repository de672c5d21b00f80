//! Tensor names of ESM-2 checkpoints, as data.
//!
//! Two published layouts hold the same tensors: Hugging Face `transformers` and fair-esm. The
//! first is also what `models convert` writes.

use virnucpro_weights::{Checkpoint, NamePattern};

use super::Esm2Config;
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

/// Rotary frequencies of a layer; they are computed anew.
pub(super) const ROTARY_FREQUENCIES: NamePattern<'static> = NamePattern::Suffix(".inv_freq");

/// Tensors that belong to no part of the forward: position tables of other variants, the contact
/// head and the pooler.
pub(super) fn left_over() -> [NamePattern<'static>; 5] {
    [
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
    /// `None` for a checkpoint without a language-model head.
    lm_root: Option<&'static str>,
}

impl Names {
    /// Names as Hugging Face's `EsmForMaskedLM` has them.
    fn hugging_face() -> Self {
        Self { naming: HUGGING_FACE, root: "esm.", lm_root: Some(HUGGING_FACE.lm_roots[0]) }
    }

    /// Finds the layout of a checkpoint by its embedding table, and whether it has a
    /// language-model head by any tensor of one.
    ///
    /// # Errors
    /// [`ModelError::Config`] for a checkpoint of another model.
    pub(crate) fn detect(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let layouts = [HUGGING_FACE, FAIR_ESM];
        let found = layouts.into_iter().find_map(|naming| {
            let has_table = |root: &&&str| {
                checkpoint.contains(&format!("{root}{}.weight", naming.word_embeddings))
            };
            let has_head = |root: &&&str| checkpoint.names().any(|name| name.starts_with(**root));
            let root = naming.roots.iter().find(has_table)?;
            let lm_root = naming.lm_roots.iter().find(has_head).copied();
            Some(Self { naming, root, lm_root })
        });
        found.ok_or_else(|| {
            let tables = layouts.map(|naming| format!("{}.weight", naming.word_embeddings));
            let reason = format!("no ESM-2 embedding table (tensor {})", tables.join(" or "));
            ModelError::config(checkpoint.source(), reason)
        })
    }

    /// Pairs of a name in this layout and the Hugging Face name of the same tensor.
    pub(crate) fn to_hugging_face(&self, num_hidden_layers: usize) -> Vec<(String, String)> {
        let target = Self::hugging_face();
        let mut stems = vec![(self.final_norm(), target.final_norm())];
        for layer in 0..num_hidden_layers {
            stems.extend(self.qkv(layer).into_iter().zip(target.qkv(layer)));
            stems.push((self.attention_output(layer), target.attention_output(layer)));
            stems.push((self.attention_norm(layer), target.attention_norm(layer)));
            stems.push((self.fc1(layer), target.fc1(layer)));
            stems.push((self.fc2(layer), target.fc2(layer)));
            stems.push((self.ffn_norm(layer), target.ffn_norm(layer)));
        }
        let mut names = vec![(self.word_embeddings(), target.word_embeddings())];
        for part in ["dense", "layer_norm"] {
            stems.extend(self.lm_head(part).zip(target.lm_head(part)));
        }
        names.extend(self.lm_head("bias").zip(target.lm_head("bias")));
        names.extend(self.lm_decoder().zip(target.lm_decoder()));
        let endings =
            [("weight", "weight"), ("bias", "bias"), ("gamma", "weight"), ("beta", "bias")];
        for (from, to) in stems {
            names
                .extend(endings.map(|(old, new)| (format!("{from}.{old}"), format!("{to}.{new}"))));
        }
        names
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

    /// Whether the checkpoint has a language-model head.
    pub(crate) fn has_lm_head(&self) -> bool {
        self.lm_root.is_some()
    }

    /// A part of the language-model head, if there is one: `dense`, `layer_norm`, `bias`.
    pub(crate) fn lm_head(&self, part: &str) -> Option<String> {
        self.lm_root.map(|root| format!("{root}{part}"))
    }

    pub(crate) fn lm_decoder(&self) -> Option<String> {
        self.lm_head(self.naming.lm_decoder)
    }
}

/// Name and extents of every tensor of an encoder without a language-model head, as Hugging Face
/// names them.
pub(crate) fn tensor_shapes(config: &Esm2Config) -> Vec<(String, Vec<usize>)> {
    let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
    let names = Names { lm_root: None, ..Names::hugging_face() };
    let mut shapes = vec![(names.word_embeddings(), vec![config.vocab_size, hidden])];
    let mut linear = |name: String, outputs: usize, inputs: usize| {
        shapes.push((format!("{name}.weight"), vec![outputs, inputs]));
        shapes.push((format!("{name}.bias"), vec![outputs]));
    };
    for layer in 0..config.num_hidden_layers {
        for name in names.qkv(layer) {
            linear(name, hidden, hidden);
        }
        linear(names.attention_output(layer), hidden, hidden);
        linear(names.fc1(layer), ffn, hidden);
        linear(names.fc2(layer), hidden, ffn);
    }
    let layers = 0..config.num_hidden_layers;
    let norms = layers.flat_map(|layer| [names.attention_norm(layer), names.ffn_norm(layer)]);
    for name in norms.chain([names.final_norm()]) {
        shapes.extend(["weight", "bias"].map(|part| (format!("{name}.{part}"), vec![hidden])));
    }
    shapes
}
