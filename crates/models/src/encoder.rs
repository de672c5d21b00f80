//! Either encoder behind one type: where it comes from, and what it makes of a batch.

use std::path::{Path, PathBuf};

use virnucpro_backend::{Backend, PackedView, PoolSpec};
use virnucpro_batch::{DnabertSTokenizer, Esm2Tokenizer, PackedBatch, SequenceTokenizer};
use virnucpro_weights::{Bytes, Checkpoint};

use crate::dnabert_s::{DnabertS, DnabertSConfig};
use crate::esm2::{Esm2, Esm2Config};
use crate::{ModelError, dnabert_s};

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

    /// Number of layers, which is also the number of the last representation.
    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Self::Esm2(config) => config.num_hidden_layers,
            Self::DnabertS(config) => config.num_hidden_layers,
        }
    }
}

/// An encoder as files: settings, tensors and tokenizer, nothing loaded yet.
#[derive(Debug)]
pub struct EncoderSource {
    name: String,
    pub(crate) config: EncoderConfig,
    pub(crate) config_json: Option<Bytes>,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer_json: Option<Bytes>,
}

fn read(path: &Path) -> Result<Bytes, ModelError> {
    Bytes::map(path).map_err(|source| ModelError::Io { file: path.display().to_string(), source })
}

impl EncoderSource {
    /// Opens a model directory (`config.json`, weights, for DNABERT-S `tokenizer.json`) or a
    /// fair-esm checkpoint file.
    ///
    /// # Errors
    /// A file that is missing, damaged or of an unknown kind.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let name = path.display().to_string();
        if !path.is_dir() {
            let checkpoint = Checkpoint::open(path)?;
            let config = EncoderConfig::Esm2(Esm2Config::from_fair_esm(&checkpoint)?);
            return Ok(Self { name, config, config_json: None, checkpoint, tokenizer_json: None });
        }
        let config_json = read(&path.join("config.json"))?;
        let config = EncoderConfig::from_json(
            &path.join("config.json").display().to_string(),
            &config_json,
        )?;
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer: PathBuf = path.join("tokenizer.json");
        let tokenizer_json = match config {
            EncoderConfig::DnabertS(_) if tokenizer.exists() => Some(read(&tokenizer)?),
            _ => None,
        };
        Ok(Self { name, config, config_json: Some(config_json), checkpoint, tokenizer_json })
    }

    /// Puts an encoder together from parts that lie elsewhere.
    ///
    /// # Errors
    /// [`ModelError::Config`] for settings that cannot be used.
    pub fn from_parts(
        name: &str,
        config_json: Bytes,
        checkpoint: Checkpoint,
        tokenizer_json: Option<Bytes>,
    ) -> Result<Self, ModelError> {
        let config = EncoderConfig::from_json(&format!("{name}/config.json"), &config_json)?;
        let name = name.to_owned();
        Ok(Self { name, config, config_json: Some(config_json), checkpoint, tokenizer_json })
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Its tensors.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its tokenizer; ESM-2's is built in.
    ///
    /// # Errors
    /// A DNABERT-S model without `tokenizer.json`, or with one that has more ids than the model's
    /// table.
    pub fn tokenizer(&self) -> Result<Box<dyn SequenceTokenizer>, ModelError> {
        let config = match &self.config {
            EncoderConfig::Esm2(_) => return Ok(Box::new(Esm2Tokenizer::default())),
            EncoderConfig::DnabertS(config) => config,
        };
        let file = format!("{}/tokenizer.json", self.name);
        let json = self
            .tokenizer_json
            .as_ref()
            .ok_or_else(|| ModelError::config(&file, "not found, DNABERT-S needs it"))?;
        let tokenizer = DnabertSTokenizer::from_json(&file, json)?;
        if tokenizer.vocab_size() > config.vocab_size {
            let reason = format!(
                "{} token ids, the model has embeddings for {}",
                tokenizer.vocab_size(),
                config.vocab_size
            );
            return Err(ModelError::config(&file, reason));
        }
        Ok(Box::new(tokenizer))
    }

    /// Loads the weights onto a device.
    ///
    /// # Errors
    /// A missing, unexpected or misshapen tensor, before anything is allocated.
    pub fn load<B: Backend>(&self, backend: &B) -> Result<Encoder<B>, ModelError> {
        Ok(match &self.config {
            EncoderConfig::Esm2(config) => {
                Encoder::Esm2(Esm2::load(backend, &self.checkpoint, config.clone())?)
            }
            EncoderConfig::DnabertS(config) => {
                Encoder::DnabertS(DnabertS::load(backend, &self.checkpoint, config.clone())?)
            }
        })
    }

    /// Names of tensors in the file that the model does not use.
    pub(crate) fn is_left_over(&self, name: &str) -> bool {
        match self.config {
            EncoderConfig::Esm2(_) => crate::esm2::left_over().iter().any(|p| p.matches(name)),
            EncoderConfig::DnabertS(_) => dnabert_s::left_over().iter().any(|p| p.matches(name)),
        }
    }
}

/// How hidden states become embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The model's own mean: residues without BOS and EOS (at most the first 1,024) for ESM-2,
    /// all tokens for DNABERT-S.
    Mean,
    /// The first token: BOS or CLS.
    Bos,
    /// No pooling: every token, special tokens included.
    None,
}

/// Embeddings of one packed batch, on the host.
///
/// # Shape
/// `values` f32 row-major: `[num_seqs, hidden_size]`, or `[total_tokens, hidden_size]` without
/// pooling; rows in the order of the batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    /// The values.
    pub values: Vec<f32>,
    /// Width of a row.
    pub hidden_size: usize,
}

/// An encoder on a device.
pub enum Encoder<B: Backend> {
    /// A protein encoder.
    Esm2(Esm2<B>),
    /// A nucleotide encoder.
    DnabertS(DnabertS<B>),
}

impl<B: Backend> Encoder<B> {
    /// Width of the hidden states.
    pub fn hidden_size(&self) -> usize {
        match self {
            Self::Esm2(model) => model.config().hidden_size,
            Self::DnabertS(model) => model.config().hidden_size,
        }
    }

    /// Number of layers, which is also the number of the last representation.
    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Self::Esm2(model) => model.config().num_hidden_layers,
            Self::DnabertS(model) => model.config().num_hidden_layers,
        }
    }

    /// Embeds one packed batch from representation `layer`.
    ///
    /// # Errors
    /// A layer that does not exist, or a batch the backend refuses.
    pub fn embed(
        &self,
        backend: &B,
        batch: &PackedBatch,
        layer: usize,
        pooling: Pooling,
    ) -> Result<Embeddings, ModelError> {
        let view = PackedView::new(
            batch.input_ids(),
            batch.cu_seqlens(),
            batch.position_ids(),
            batch.max_seqlen(),
        )?;
        let on_device = backend.upload(view)?;
        let (hidden, mean) = match self {
            Self::Esm2(model) => {
                (model.hidden_states(backend, &on_device, layer)?, model.mean_pool())
            }
            Self::DnabertS(model) => {
                (model.hidden_states(backend, &on_device, layer)?, model.mean_pool())
            }
        };
        let pooled = match pooling {
            Pooling::Mean => Some(backend.pool(&on_device, mean, &hidden)?),
            Pooling::Bos => Some(backend.pool(&on_device, PoolSpec::First, &hidden)?),
            Pooling::None => None,
        };
        let values = backend.download(pooled.as_ref().unwrap_or(&hidden))?;
        Ok(Embeddings { values, hidden_size: self.hidden_size() })
    }
}
