//! An encoder as files, nothing loaded yet.

use std::path::Path;

use virnucpro_backend::Backend;
use virnucpro_batch::{DnabertSTokenizer, Esm2Tokenizer, SequenceTokenizer};
use virnucpro_weights::{Bytes, Checkpoint};

use super::{Encoder, EncoderConfig};
use crate::ModelError;
use crate::dnabert_s::{self, DnabertS};
use crate::esm2::{self, Esm2, Esm2Config};

/// An encoder as files: settings, tensors and tokenizer, nothing loaded yet.
#[derive(Debug)]
pub struct EncoderSource {
    pub(crate) name: String,
    pub(crate) config: EncoderConfig,
    pub(crate) config_json: Bytes,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer_json: Option<Bytes>,
}

fn read(path: &Path) -> Result<Bytes, ModelError> {
    Bytes::map(path).map_err(ModelError::io(path))
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
            let config = Esm2Config::from_fair_esm(&checkpoint)?;
            let has_lm_head = esm2::Names::detect(&checkpoint)?.has_lm_head();
            let config_json = config.to_json(has_lm_head).into();
            let config = EncoderConfig::Esm2(config);
            return Ok(Self { name, config, config_json, checkpoint, tokenizer_json: None });
        }
        let settings = path.join("config.json");
        let config_json = read(&settings)?;
        let config = EncoderConfig::from_json(&settings.display().to_string(), &config_json)?;
        let checkpoint = Checkpoint::open(path)?;
        let tokenizer = path.join("tokenizer.json");
        let tokenizer_json = match config {
            EncoderConfig::DnabertS(_) if tokenizer.exists() => Some(read(&tokenizer)?),
            _ => None,
        };
        Ok(Self { name, config, config_json, checkpoint, tokenizer_json })
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
        Ok(Self { name, config, config_json, checkpoint, tokenizer_json })
    }

    /// Where it came from.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its settings.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// Refuses an encoder of another architecture than the one that is wanted here.
    pub(crate) fn expect_architecture(&self, expected: &str) -> Result<(), ModelError> {
        let found = self.config.architecture();
        if found == expected {
            return Ok(());
        }
        Err(ModelError::config(&self.name, format!("the model is {found}, expected {expected}")))
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

    /// Checks every tensor's name, shape and type against the settings; nothing is loaded.
    ///
    /// # Errors
    /// A missing, unexpected or misshapen tensor.
    pub fn check(&self) -> Result<(), ModelError> {
        match &self.config {
            EncoderConfig::Esm2(config) => {
                esm2::StoredWeights::take(&self.checkpoint, config).map(drop)
            }
            EncoderConfig::DnabertS(config) => {
                dnabert_s::StoredWeights::take(&self.checkpoint, config).map(drop)
            }
        }
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
}
