//! The settings of an ESM-2 checkpoint.

use serde::{Deserialize, Deserializer, Serialize};
use virnucpro_weights::{Checkpoint, Value};

use crate::ModelError;
use crate::settings::{check_extents, check_positive};

/// Sizes and constants of one ESM-2 model, as its Hugging Face `config.json` names them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Esm2Config {
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Attention heads in a layer.
    pub num_attention_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Token ids.
    pub vocab_size: usize,
    /// Added to the variance in every LayerNorm.
    pub layer_norm_eps: f32,
    /// Base of the rotary frequencies.
    #[serde(default = "rope_theta")]
    pub rope_theta: f32,
    /// Whether embeddings are rescaled for masked training.
    pub token_dropout: bool,
    /// Id of `<mask>`.
    #[serde(default = "mask_token_id")]
    pub mask_token_id: u32,
    /// A LayerNorm before the first layer; ESM-2 has none.
    #[serde(default, deserialize_with = "null_is_false")]
    pub emb_layer_norm_before: bool,
    /// How positions enter; ESM-2 has `rotary`.
    pub position_embedding_type: String,
}

/// What `transformers` wants to see beside the settings.
#[derive(Serialize)]
struct HuggingFaceConfig<'a> {
    model_type: &'static str,
    architectures: [&'static str; 1],
    pad_token_id: u32,
    tie_word_embeddings: bool,
    #[serde(flatten)]
    settings: &'a Esm2Config,
}

/// What fair-esm adds to the variance in every LayerNorm.
///
/// # Source
/// facebookresearch/esm: esm/model/esm2.py, LayerNorm of esm/modules.py.
const FAIR_ESM_LAYER_NORM_EPS: f32 = 1e-5;

/// Hugging Face configurations did not name the base before other models needed another one.
///
/// # Source
/// facebookresearch/esm: esm/rotary_embedding.py, line 41.
fn rope_theta() -> f32 {
    10_000.0
}

fn mask_token_id() -> u32 {
    virnucpro_batch::esm2::MASK
}

/// Hugging Face writes `null` for a setting that is off.
fn null_is_false<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(false))
}

impl Esm2Config {
    /// Reads a Hugging Face `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for JSON that is not an ESM-2 configuration.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self, ModelError> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|e| ModelError::config(file, format!("not an ESM-2 configuration: {e}")))?;
        config.check(file)?;
        Ok(config)
    }

    /// Reads the settings that a fair-esm checkpoint carries beside its tensors.
    ///
    /// They lie under `cfg` (a namespace, or a mapping whose `model` is one). fair-esm fixes the
    /// feed-forward width at four times the hidden size.
    ///
    /// # Errors
    /// [`ModelError::Config`] when a setting is missing.
    ///
    /// # Source
    /// facebookresearch/esm: esm/pretrained.py, lines 164-183.
    pub fn from_fair_esm(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let file = checkpoint.source();
        let cfg = checkpoint.root().and_then(|root| root.get("cfg"));
        let cfg = cfg.and_then(|cfg| cfg.get("model")).or(cfg);
        let setting = |name: &str| -> Option<&Value> {
            cfg.and_then(|cfg| cfg.attr(name).or_else(|| cfg.get(name)))
        };
        let number = |name: &str| {
            setting(name).and_then(Value::as_usize).ok_or_else(|| {
                let reason = format!(
                    "not a fair-esm checkpoint (no {name} in its cfg); \
                     other encoders are folders with a config.json"
                );
                ModelError::config(file, reason)
            })
        };
        let hidden_size = number("encoder_embed_dim")?;
        let config = Self {
            num_hidden_layers: number("encoder_layers")?,
            hidden_size,
            num_attention_heads: number("encoder_attention_heads")?,
            intermediate_size: hidden_size.saturating_mul(4),
            vocab_size: virnucpro_batch::esm2::VOCAB_SIZE,
            layer_norm_eps: FAIR_ESM_LAYER_NORM_EPS,
            rope_theta: rope_theta(),
            token_dropout: setting("token_dropout").and_then(Value::as_bool).unwrap_or(true),
            mask_token_id: mask_token_id(),
            emb_layer_norm_before: false,
            position_embedding_type: "rotary".into(),
        };
        config.check(file)?;
        Ok(config)
    }

    /// The same settings as a Hugging Face `config.json`.
    pub(crate) fn to_json(&self, has_lm_head: bool) -> Vec<u8> {
        let published = HuggingFaceConfig {
            model_type: "esm",
            architectures: [if has_lm_head { "EsmForMaskedLM" } else { "EsmModel" }],
            pad_token_id: virnucpro_batch::esm2::PAD,
            tie_word_embeddings: true,
            settings: self,
        };
        serde_json::to_vec_pretty(&published).expect("numbers and short texts are always JSON")
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    fn check(&self, file: &str) -> Result<(), ModelError> {
        let refuse = |reason: String| Err(ModelError::config(file, reason));
        let extents = [
            ("num_hidden_layers", self.num_hidden_layers),
            ("hidden_size", self.hidden_size),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
        ];
        check_extents(file, &extents)?;
        let constants = [("layer_norm_eps", self.layer_norm_eps), ("rope_theta", self.rope_theta)];
        check_positive(file, &constants)?;
        if !self.hidden_size.is_multiple_of(self.num_attention_heads)
            || !self.head_dim().is_multiple_of(2)
        {
            return refuse(format!(
                "hidden_size {} does not divide into {} heads of even width",
                self.hidden_size, self.num_attention_heads
            ));
        }
        if self.vocab_size != virnucpro_batch::esm2::VOCAB_SIZE {
            return refuse(format!(
                "vocab_size is {}, the ESM-2 alphabet has {}",
                self.vocab_size,
                virnucpro_batch::esm2::VOCAB_SIZE
            ));
        }
        if self.emb_layer_norm_before || self.position_embedding_type != "rotary" {
            return refuse(
                "an ESM-1 style model; only ESM-2 (rotary, no first LayerNorm) runs".into(),
            );
        }
        Ok(())
    }
}
