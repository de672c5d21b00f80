//! Rewriting checkpoints as safetensors in Hugging Face naming.

use std::path::Path;

use virnucpro_backend::TensorView;
use virnucpro_weights::{Checkpoint, write_safetensors};

use crate::esm2::hugging_face_names;
use crate::{EncoderConfig, EncoderSource, ModelError, classifier, dnabert_s, esm2};

/// What a checkpoint turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Converted {
    /// An encoder: `config.json`, `model.safetensors` and, for DNABERT-S, `tokenizer.json` were
    /// written into a folder.
    Encoder(&'static str),
    /// A classifier: one safetensors file was written.
    Classifier,
}

/// Converts the encoder or classifier at `input`; an encoder goes into folder `output`, a
/// classifier into file `output`.
///
/// # Errors
/// A checkpoint that cannot be read or is neither, or an output that cannot be written.
pub fn convert(input: &Path, output: &Path) -> Result<Converted, ModelError> {
    if !input.is_dir() {
        let checkpoint = Checkpoint::open(input)?;
        if checkpoint.contains("hidden_layer.weight") {
            write_classifier(&checkpoint, output)?;
            return Ok(Converted::Classifier);
        }
    }
    let source = EncoderSource::open(input)?;
    write_encoder(&source, output)?;
    Ok(Converted::Encoder(source.config().architecture()))
}

pub(crate) fn write_classifier(checkpoint: &Checkpoint, output: &Path) -> Result<(), ModelError> {
    let mut tensors = Vec::new();
    for name in classifier::tensor_names() {
        if let Some(tensor) = checkpoint.get(name) {
            tensors.push((name.to_owned(), tensor));
        }
    }
    write(output, &tensors)
}

pub(crate) fn write_encoder(source: &EncoderSource, folder: &Path) -> Result<(), ModelError> {
    let io = |path: &Path| {
        let file = path.display().to_string();
        move |source| ModelError::Io { file, source }
    };
    std::fs::create_dir_all(folder).map_err(io(folder))?;
    let mut tensors = Vec::new();
    for (from, to) in renamed(source)? {
        if let Some(tensor) = source.checkpoint.get(&from) {
            tensors.push((to, tensor));
        }
    }
    write(&folder.join("model.safetensors"), &tensors)?;
    let config = folder.join("config.json");
    std::fs::write(&config, config_json(source)?).map_err(io(&config))?;
    if let Some(tokenizer) = &source.tokenizer_json {
        let path = folder.join("tokenizer.json");
        std::fs::write(&path, &tokenizer[..]).map_err(io(&path))?;
    }
    Ok(())
}

fn write(path: &Path, tensors: &[(String, TensorView<'_>)]) -> Result<(), ModelError> {
    let views: Vec<_> = tensors.iter().map(|(name, view)| (name.as_str(), view.clone())).collect();
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    write_safetensors(path, &views, &metadata)?;
    Ok(())
}

/// Pairs of stored name and Hugging Face name.
fn renamed(source: &EncoderSource) -> Result<Vec<(String, String)>, ModelError> {
    let config = match &source.config {
        EncoderConfig::Esm2(config) => config,
        EncoderConfig::DnabertS(_) => {
            let root = dnabert_s::root_of(&source.checkpoint);
            let kept = source.checkpoint.names().filter(|name| !source.is_left_over(name));
            let renamed = |name: &str| name.strip_prefix(root).unwrap_or(name).to_owned();
            return Ok(kept.map(|name| (name.to_owned(), renamed(name))).collect());
        }
    };
    let stored = esm2::detect_names(&source.checkpoint)?;
    let target = hugging_face_names();
    let mut stems: Vec<(String, String)> = vec![(stored.final_norm(), target.final_norm())];
    for part in ["dense", "layer_norm"] {
        stems.push((stored.lm_head(part), target.lm_head(part)));
    }
    for layer in 0..config.num_hidden_layers {
        stems.extend(stored.qkv(layer).into_iter().zip(target.qkv(layer)));
        stems.push((stored.attention_output(layer), target.attention_output(layer)));
        stems.push((stored.attention_norm(layer), target.attention_norm(layer)));
        stems.push((stored.fc1(layer), target.fc1(layer)));
        stems.push((stored.fc2(layer), target.fc2(layer)));
        stems.push((stored.ffn_norm(layer), target.ffn_norm(layer)));
    }
    let mut names = vec![
        (stored.word_embeddings(), target.word_embeddings()),
        (stored.lm_head("bias"), target.lm_head("bias")),
        (stored.lm_decoder(), target.lm_decoder()),
    ];
    for (from, to) in stems {
        for (old, new) in
            [("weight", "weight"), ("bias", "bias"), ("gamma", "weight"), ("beta", "bias")]
        {
            names.push((format!("{from}.{old}"), format!("{to}.{new}")));
        }
    }
    Ok(names)
}

/// The stored `config.json`, or one made from the settings inside a fair-esm checkpoint.
fn config_json(source: &EncoderSource) -> Result<Vec<u8>, ModelError> {
    if let Some(json) = &source.config_json {
        return Ok(json.to_vec());
    }
    let settings = match &source.config {
        EncoderConfig::Esm2(config) => serde_json::to_value(config),
        EncoderConfig::DnabertS(config) => serde_json::to_value(config),
    };
    let refuse = |e: serde_json::Error| ModelError::config(source.name(), e.to_string());
    let mut settings = settings.map_err(refuse)?;
    let has_lm_head =
        source.checkpoint.contains(&esm2::detect_names(&source.checkpoint)?.lm_head("bias"));
    let class = if has_lm_head { "EsmForMaskedLM" } else { "EsmModel" };
    settings["model_type"] = "esm".into();
    settings["architectures"] = serde_json::json!([class]);
    settings["pad_token_id"] = virnucpro_batch::esm2::PAD.into();
    settings["tie_word_embeddings"] = true.into();
    serde_json::to_vec_pretty(&settings).map_err(refuse)
}
