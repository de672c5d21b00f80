//! Rewriting checkpoints as safetensors in Hugging Face naming.

use std::path::Path;

use virnucpro_backend::TensorView;
use virnucpro_weights::{Checkpoint, write_safetensors};

use crate::classifier::{EPS_KEY, FIRST_LAYER, StoredClassifier};
use crate::staging::{PartialFolder, refuse_existing};
use crate::{EncoderConfig, EncoderSource, ModelError, dnabert_s, esm2};

/// What a checkpoint turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converted {
    /// An encoder of this architecture: `config.json`, `model.safetensors` and, for DNABERT-S,
    /// `tokenizer.json` were written into a folder.
    Encoder(&'static str),
    /// A classifier: one safetensors file was written.
    Classifier,
}

/// Converts the encoder or classifier at `input`; an encoder goes into folder `output`, a
/// classifier into file `output`.
///
/// The whole model is checked before the first byte is written, and the output appears when it is
/// complete. Element types are kept, so the converted model gives the same bits.
///
/// # Errors
/// A checkpoint that cannot be read, is neither, or does not fit its settings;
/// [`ModelError::OutputExists`]; an output that cannot be written.
pub fn convert(input: &Path, output: &Path) -> Result<Converted, ModelError> {
    if !input.is_dir() {
        let checkpoint = Checkpoint::open(input)?;
        if checkpoint.contains(FIRST_LAYER) {
            let classifier = StoredClassifier::take(&checkpoint)?;
            refuse_existing(output)?;
            write_classifier(&classifier, output)?;
            return Ok(Converted::Classifier);
        }
    }
    let source = EncoderSource::open(input)?;
    source.check()?;
    let folder = PartialFolder::create(output)?;
    write_encoder(&source, &folder, "")?;
    folder.finish()?;
    Ok(Converted::Encoder(source.config().architecture()))
}

/// Writes a classifier to a file, which appears when it is complete.
pub(crate) fn write_classifier(
    classifier: &StoredClassifier<'_>,
    output: &Path,
) -> Result<(), ModelError> {
    let eps = (EPS_KEY.to_owned(), format!("{:?}", classifier.eps));
    write_safetensors(output, &classifier.tensors(), &[format_note(), eps].into())?;
    Ok(())
}

/// Writes the files of a checked encoder, each path starting with `prefix`.
pub(crate) fn write_encoder(
    source: &EncoderSource,
    folder: &PartialFolder,
    prefix: &str,
) -> Result<(), ModelError> {
    let names = match &source.config {
        EncoderConfig::Esm2(config) => {
            esm2::Names::detect(&source.checkpoint)?.to_hugging_face(config.num_hidden_layers)
        }
        EncoderConfig::DnabertS(_) => dnabert_s::to_bare_names(&source.checkpoint),
    };
    // Names that the checkpoint may spell differently, or not have at all, are among them.
    let tensors: Vec<(&str, TensorView<'_>)> = names
        .iter()
        .filter_map(|(from, to)| Some((to.as_str(), source.checkpoint.get(from)?)))
        .collect();
    let weights = folder.path().join(format!("{prefix}model.safetensors"));
    write_safetensors(&weights, &tensors, &[format_note()].into())?;
    folder.write(&format!("{prefix}config.json"), &source.config_json)?;
    if let Some(tokenizer) = &source.tokenizer_json {
        folder.write(&format!("{prefix}tokenizer.json"), tokenizer)?;
    }
    Ok(())
}

/// The note by which `transformers` knows whose tensor names these are.
fn format_note() -> (String, String) {
    ("format".into(), "pt".into())
}
