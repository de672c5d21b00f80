//! The settings of an encoder, whichever it is.

use crate::ModelError;
use crate::dnabert_s::DnabertSConfig;
use crate::esm2::Esm2Config;

/// The settings of either encoder.
#[derive(Clone, Debug, PartialEq)]
pub enum EncoderConfig {
    /// A protein encoder.
    Esm2(Esm2Config),
    /// A nucleotide encoder.
    DnabertS(DnabertSConfig),
}

impl EncoderConfig {
    /// Reads a `config.json`; its `model_type` decides (`esm`, or `bert` for DNABERT-S).
    ///
    /// # Errors
    /// [`ModelError::Config`] for anything else.
    pub fn from_json(file: &str, json: &[u8]) -> Result<Self, ModelError> {
        let value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|e| ModelError::config(file, format!("not JSON: {e}")))?;
        match value.get("model_type").and_then(|t| t.as_str()) {
            Some("esm") => Ok(Self::Esm2(Esm2Config::from_json(file, json)?)),
            Some("bert") => Ok(Self::DnabertS(DnabertSConfig::from_json(file, json)?)),
            Some(other) => {
                let reason = format!("model_type is {other:?}; esm and bert (DNABERT-S) run");
                Err(ModelError::config(file, reason))
            }
            None => Err(ModelError::config(file, "no model_type")),
        }
    }

    /// Name of the architecture.
    pub fn architecture(&self) -> &'static str {
        match self {
            Self::Esm2(_) => "ESM-2",
            Self::DnabertS(_) => "DNABERT-S",
        }
    }

    /// Width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Esm2(config) => config.hidden_size,
            Self::DnabertS(config) => config.hidden_size,
        }
    }

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Esm2(config) => config.vocab_size,
            Self::DnabertS(config) => config.vocab_size,
        }
    }

    /// Number of layers, which is also the number of the last representation.
    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Self::Esm2(config) => config.num_hidden_layers,
            Self::DnabertS(config) => config.num_hidden_layers,
        }
    }
}
