//! The tensors of an ESM-2 checkpoint: found, checked, then put on the device.

use virnucpro_backend::{Backend, TensorView};
use virnucpro_weights::{Checkpoint, TensorReader};

use super::Esm2Config;
use super::lm_head::LmHead;
use super::naming::{Names, detect_names, left_over};
use crate::ModelError;
use crate::files::{Norm, linear, norm, take_linear, take_norm};

/// One layer on the device.
pub(super) struct Layer<B: Backend> {
    pub(super) attention_norm: Norm<B>,
    /// q, k and v stacked: `[3 × hidden_size, hidden_size]`.
    pub(super) qkv: B::Linear,
    pub(super) attention_output: B::Linear,
    pub(super) ffn_norm: Norm<B>,
    pub(super) fc1: B::Linear,
    pub(super) fc2: B::Linear,
}

/// All weights on the device.
pub(super) struct Weights<B: Backend> {
    pub(super) word_embeddings: B::Table,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) final_norm: Norm<B>,
    pub(super) lm_head: Option<LmHead<B>>,
}

/// Checked views of one layer, still in the file.
struct StoredLayer<'a> {
    attention_norm: [TensorView<'a>; 2],
    qkv: Vec<[TensorView<'a>; 2]>,
    attention_output: [TensorView<'a>; 2],
    ffn_norm: [TensorView<'a>; 2],
    fc1: [TensorView<'a>; 2],
    fc2: [TensorView<'a>; 2],
}

impl<'a> StoredLayer<'a> {
    fn take(
        reader: &mut TensorReader<'a>,
        names: &Names,
        config: &Esm2Config,
        layer: usize,
    ) -> Result<Self, ModelError> {
        let (hidden, ffn) = (config.hidden_size, config.intermediate_size);
        let square = [hidden, hidden];
        let mut qkv = Vec::with_capacity(3);
        for name in names.qkv(layer) {
            qkv.push(take_linear(reader, &name, square)?);
        }
        Ok(Self {
            attention_norm: take_norm(reader, &names.attention_norm(layer), hidden)?,
            qkv,
            attention_output: take_linear(reader, &names.attention_output(layer), square)?,
            ffn_norm: take_norm(reader, &names.ffn_norm(layer), hidden)?,
            fc1: take_linear(reader, &names.fc1(layer), [ffn, hidden])?,
            fc2: take_linear(reader, &names.fc2(layer), [hidden, ffn])?,
        })
    }

    fn upload<B: Backend>(&self, backend: &B) -> Result<Layer<B>, ModelError> {
        let weights: Vec<_> = self.qkv.iter().map(|[weight, _]| weight.clone()).collect();
        let biases: Vec<_> = self.qkv.iter().map(|[_, bias]| bias.clone()).collect();
        Ok(Layer {
            attention_norm: norm(backend, &self.attention_norm)?,
            qkv: backend.linear_weights(&weights, &biases)?,
            attention_output: linear(backend, &self.attention_output)?,
            ffn_norm: norm(backend, &self.ffn_norm)?,
            fc1: linear(backend, &self.fc1)?,
            fc2: linear(backend, &self.fc2)?,
        })
    }
}

impl<B: Backend> Weights<B> {
    /// Checks every tensor's name, shape and type, and only then uploads the first.
    pub(super) fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        config: &Esm2Config,
    ) -> Result<Self, ModelError> {
        let names = detect_names(checkpoint)?;
        let mut reader = checkpoint.reader();
        let table_shape = [config.vocab_size, config.hidden_size];
        let word_embeddings = reader.take(&names.word_embeddings(), &table_shape)?;
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            layers.push(StoredLayer::take(&mut reader, &names, config, layer)?);
        }
        let final_norm = take_norm(&mut reader, &names.final_norm(), config.hidden_size)?;
        let lm_head = LmHead::<B>::take(&mut reader, &names, config, &word_embeddings)?;
        reader.finish(&left_over())?;

        Ok(Self {
            word_embeddings: backend.table(&word_embeddings)?,
            layers: layers.iter().map(|layer| layer.upload(backend)).collect::<Result<_, _>>()?,
            final_norm: norm(backend, &final_norm)?,
            lm_head: lm_head.map(|head| head.upload(backend)).transpose()?,
        })
    }
}
