//! The settings of a DNABERT-S checkpoint.

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::settings::{check_extents, check_positive};

/// Sizes and constants of one DNABERT-S model, as its `config.json` names them.
///
/// `max_position_embeddings` and `alibi_starting_size` only size buffers of the reference code;
/// any length is accepted. `pad_token_id` is not read: packed batches have no padding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DnabertSConfig {
    /// Transformer layers.
    pub num_hidden_layers: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Attention heads in a layer.
    pub num_attention_heads: usize,
    /// Width of the gated feed-forward layer, after the gate.
    pub intermediate_size: usize,
    /// Token ids.
    pub vocab_size: usize,
    /// Rows of the token-type table, of which the first is used.
    #[serde(default = "two")]
    pub type_vocab_size: usize,
    /// Added to the variance in every LayerNorm.
    #[serde(default = "layer_norm_eps")]
    pub layer_norm_eps: f32,
    /// Activation of the gate; the exact GELU.
    #[serde(default = "gelu")]
    pub hidden_act: String,
}

fn two() -> usize {
    2
}

/// # Source
/// MAGICS-LAB/DNABERT_S: evaluate/model_codes, config.json.
fn layer_norm_eps() -> f32 {
    1e-12
}

fn gelu() -> String {
    "gelu".into()
}

impl DnabertSConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Config`] for JSON that is not a DNABERT-S configuration.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self, ModelError> {
        let config: Self = serde_json::from_slice(json)
            .map_err(|e| ModelError::config(file, format!("not a DNABERT-S configuration: {e}")))?;
        let extents = [
            ("num_hidden_layers", config.num_hidden_layers),
            ("hidden_size", config.hidden_size),
            ("num_attention_heads", config.num_attention_heads),
            ("intermediate_size", config.intermediate_size),
            ("vocab_size", config.vocab_size),
            ("type_vocab_size", config.type_vocab_size),
        ];
        check_extents(file, &extents)?;
        check_positive(file, &[("layer_norm_eps", config.layer_norm_eps)])?;
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(ModelError::config(
                file,
                format!(
                    "hidden_size {} does not divide into {} heads",
                    config.hidden_size, config.num_attention_heads
                ),
            ));
        }
        if config.hidden_act != "gelu" {
            let reason = format!("hidden_act is {:?}, only the exact gelu runs", config.hidden_act);
            return Err(ModelError::config(file, reason));
        }
        Ok(config)
    }

    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}
