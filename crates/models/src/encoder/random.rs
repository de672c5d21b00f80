//! Encoders of published sizes with random weights, for measuring and testing without files.

use std::fmt;
use std::str::FromStr;

use virnucpro_weights::{Checkpoint, RandomKind, RandomTensor};

use super::{EncoderConfig, EncoderSource};
use crate::ModelError;
use crate::dnabert_s;
use crate::esm2;

/// Standard deviation of initial weights.
///
/// # Source
/// `initializer_range` in the published `config.json` of ESM-2 and of DNABERT-S.
const INITIALIZER_RANGE: f32 = 0.02;

/// A published encoder by its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedSize {
    name: &'static str,
    layers: usize,
    hidden_size: usize,
    heads: usize,
}

/// # Source
/// facebookresearch/esm: README.md, table of ESM-2 models (heads from the checkpoints' configs);
/// MAGICS-LAB/DNABERT_S: config.json.
const PUBLISHED: [PublishedSize; 7] = [
    PublishedSize { name: "esm2-8m", layers: 6, hidden_size: 320, heads: 20 },
    PublishedSize { name: "esm2-35m", layers: 12, hidden_size: 480, heads: 20 },
    PublishedSize { name: "esm2-150m", layers: 30, hidden_size: 640, heads: 20 },
    PublishedSize { name: "esm2-650m", layers: 33, hidden_size: 1280, heads: 20 },
    PublishedSize { name: "esm2-3b", layers: 36, hidden_size: 2560, heads: 40 },
    PublishedSize { name: "esm2-15b", layers: 48, hidden_size: 5120, heads: 40 },
    PublishedSize { name: "dnabert-s", layers: 12, hidden_size: 768, heads: 12 },
];

impl PublishedSize {
    /// All of them.
    pub const ALL: [Self; 7] = PUBLISHED;

    /// Name, such as `esm2-3b`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Whether it reads nucleotides.
    pub fn reads_nucleotides(self) -> bool {
        self.name == "dnabert-s"
    }

    /// Its settings.
    ///
    /// # Errors
    /// None for the sizes that there are.
    pub fn config(self) -> Result<EncoderConfig, ModelError> {
        let Self { name, layers, hidden_size, heads } = self;
        let json = if self.reads_nucleotides() {
            serde_json::json!({
                "model_type": "bert", "num_hidden_layers": layers, "hidden_size": hidden_size,
                "num_attention_heads": heads, "intermediate_size": 4 * hidden_size,
                "vocab_size": 4096,
            })
        } else {
            serde_json::json!({
                "model_type": "esm", "num_hidden_layers": layers, "hidden_size": hidden_size,
                "num_attention_heads": heads, "intermediate_size": 4 * hidden_size,
                "vocab_size": 33, "layer_norm_eps": 1e-5, "token_dropout": true,
                "position_embedding_type": "rotary",
            })
        };
        EncoderConfig::from_json(name, json.to_string().as_bytes())
    }
}

impl FromStr for PublishedSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = PUBLISHED.into_iter().find(|size| size.name == text);
        found.ok_or_else(|| {
            let names: Vec<_> = PUBLISHED.iter().map(|size| size.name).collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })
    }
}

impl fmt::Display for PublishedSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl EncoderSource {
    /// An encoder with random f16 weights; it has no tokenizer file.
    ///
    /// # Errors
    /// Settings that cannot be used.
    pub fn random(name: &str, config: EncoderConfig, seed: u64) -> Result<Self, ModelError> {
        let tensors = match &config {
            EncoderConfig::Esm2(config) => esm2::tensor_shapes(config),
            EncoderConfig::DnabertS(config) => dnabert_s::tensor_shapes(config),
        };
        let tensors: Vec<_> = tensors.into_iter().map(random_tensor).collect();
        let checkpoint = Checkpoint::random(name, &tensors, INITIALIZER_RANGE, seed)?;
        let config_json = Vec::new().into();
        let name = name.to_owned();
        Ok(Self { name, config, config_json, checkpoint, tokenizer_json: None })
    }
}

fn random_tensor((name, shape): (String, Vec<usize>)) -> RandomTensor {
    let kind = match (name.ends_with(".bias"), shape.len()) {
        (true, _) => RandomKind::Bias,
        (false, 1) => RandomKind::Scale,
        (false, _) => RandomKind::Weight,
    };
    RandomTensor { name, shape, kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_have_the_parameters_of_their_names() {
        let parameters = |name: &str| {
            let config = name.parse::<PublishedSize>().unwrap().config().unwrap();
            let shapes = match &config {
                EncoderConfig::Esm2(config) => esm2::tensor_shapes(config),
                EncoderConfig::DnabertS(config) => dnabert_s::tensor_shapes(config),
            };
            shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum::<usize>()
        };
        assert_eq!(parameters("esm2-8m") / 100_000, 74);
        assert_eq!(parameters("esm2-650m") / 10_000_000, 64);
        assert_eq!(parameters("esm2-3b") / 10_000_000, 283);
        assert!("esm2-9m".parse::<PublishedSize>().unwrap_err().contains("esm2-650m"));
    }

    #[test]
    fn random_encoder_loads_as_a_checkpoint_of_its_architecture() {
        for name in ["esm2-8m", "dnabert-s"] {
            let config = name.parse::<PublishedSize>().unwrap().config().unwrap();
            let source = EncoderSource::random(name, config, 3).unwrap();
            source.check().unwrap();
        }
    }
}
