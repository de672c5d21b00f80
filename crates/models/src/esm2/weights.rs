//! The tensors of an ESM-2 checkpoint: found, checked, then put on the device.

use virnucpro_backend::{Backend, NormedLinear, TensorView};
use virnucpro_weights::{Checkpoint, TensorReader};

use super::Esm2Config;
use super::lm_head::{LmHead, StoredLmHead};
use super::naming::{Names, ROTARY_FREQUENCIES, left_over};
use crate::ModelError;
use crate::stored::{Norm, linear, norm, normed_linear, take_linear, take_norm};

/// One layer on the device.
pub(super) struct Layer<B: Backend> {
    /// q, k and v stacked, `[3 × hidden_size, hidden_size]`, and the norm before them.
    pub(super) qkv: NormedLinear<B>,
    pub(super) attention_output: B::Linear,
    /// With the norm before it.
    pub(super) fc1: NormedLinear<B>,
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

    fn upload<B: Backend>(&self, backend: &B, eps: f32) -> Result<Layer<B>, ModelError> {
        let weights: Vec<_> = self.qkv.iter().map(|[weight, _]| weight.clone()).collect();
        let biases: Vec<_> = self.qkv.iter().map(|[_, bias]| bias.clone()).collect();
        Ok(Layer {
            qkv: normed_linear(backend, &self.attention_norm, eps, &weights, &biases)?,
            attention_output: linear(backend, &self.attention_output)?,
            fc1: normed_linear(backend, &self.ffn_norm, eps, &self.fc1[..1], &self.fc1[1..])?,
            fc2: linear(backend, &self.fc2)?,
        })
    }
}

/// Every tensor of the model, checked, still in the file.
pub(crate) struct StoredWeights<'a> {
    word_embeddings: TensorView<'a>,
    layers: Vec<StoredLayer<'a>>,
    final_norm: [TensorView<'a>; 2],
    lm_head: Option<StoredLmHead<'a>>,
}

impl<'a> StoredWeights<'a> {
    /// Checks every tensor's name, shape and type against the settings.
    pub(crate) fn take(
        checkpoint: &'a Checkpoint,
        config: &Esm2Config,
    ) -> Result<Self, ModelError> {
        let names = Names::detect(checkpoint)?;
        let mut reader = checkpoint.reader();
        let table_shape = [config.vocab_size, config.hidden_size];
        let word_embeddings = reader.take(&names.word_embeddings(), &table_shape)?;
        // Not reserved: the number of layers is only believed once each of them was found.
        let mut layers = Vec::new();
        for layer in 0..config.num_hidden_layers {
            layers.push(StoredLayer::take(&mut reader, &names, config, layer)?);
        }
        let final_norm = take_norm(&mut reader, &names.final_norm(), config.hidden_size)?;
        let lm_head = StoredLmHead::take(&mut reader, &names, config, &word_embeddings)?;
        check_rotary_frequencies(&mut reader, checkpoint, config)?;
        reader.finish(&left_over())?;
        Ok(Self { word_embeddings, layers, final_norm, lm_head })
    }

    pub(super) fn upload<B: Backend>(
        &self,
        backend: &B,
        eps: f32,
    ) -> Result<Weights<B>, ModelError> {
        let layers = self.layers.iter().map(|layer| layer.upload(backend, eps));
        Ok(Weights {
            word_embeddings: backend.table(&self.word_embeddings)?,
            layers: layers.collect::<Result<_, _>>()?,
            final_norm: norm(backend, &self.final_norm)?,
            lm_head: self.lm_head.as_ref().map(|head| head.upload(backend)).transpose()?,
        })
    }
}

/// Stored rotary frequencies are not used, but their number is the only thing in a checkpoint
/// that depends on the number of heads.
fn check_rotary_frequencies(
    reader: &mut TensorReader<'_>,
    checkpoint: &Checkpoint,
    config: &Esm2Config,
) -> Result<(), ModelError> {
    for name in checkpoint.names().filter(|name| ROTARY_FREQUENCIES.matches(name)) {
        reader.take(name, &[config.head_dim() / 2])?;
    }
    Ok(())
}
