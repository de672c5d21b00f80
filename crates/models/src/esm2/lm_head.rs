//! The language-model head: hidden states to logits over the alphabet.

use virnucpro_backend::{Backend, Epilogue, TensorView};
use virnucpro_weights::TensorReader;

use super::Esm2Config;
use super::naming::Names;
use crate::ModelError;
use crate::stored::{Norm, linear, norm, take_linear, take_norm};

/// The head on the device: dense, exact GELU, LayerNorm, decoder.
pub(super) struct LmHead<B: Backend> {
    dense: B::Linear,
    layer_norm: Norm<B>,
    decoder: B::Linear,
}

/// Checked views of the head, still in the file.
pub(super) struct StoredLmHead<'a> {
    dense: [TensorView<'a>; 2],
    layer_norm: [TensorView<'a>; 2],
    decoder: [TensorView<'a>; 2],
}

impl<B: Backend> LmHead<B> {
    /// Logits of every token.
    ///
    /// # Shape
    /// `hidden_states` `[total_tokens, hidden_size]`, result `[total_tokens, vocab_size]`.
    ///
    /// # Source
    /// facebookresearch/esm: esm/modules.py, RobertaLMHead.
    pub(super) fn logits(
        &self,
        backend: &B,
        config: &Esm2Config,
        hidden_states: &B::Activation,
    ) -> Result<B::Activation, ModelError> {
        let (rows, hidden) = backend.shape(hidden_states);
        let mut x = backend.scratch(rows, hidden)?;
        backend.linear(hidden_states, &self.dense, Epilogue::Gelu, &mut x)?;
        let Norm { gamma, beta } = &self.layer_norm;
        backend.layer_norm_in_place(&mut x, gamma, beta, config.layer_norm_eps)?;
        let mut logits = backend.scratch(rows, config.vocab_size)?;
        backend.linear(&x, &self.decoder, Epilogue::Store, &mut logits)?;
        Ok(logits)
    }
}

impl<'a> StoredLmHead<'a> {
    /// The head's tensors, or `None` for a checkpoint without one. A checkpoint that does not
    /// store the decoder ties it to the embedding table.
    pub(super) fn take(
        reader: &mut TensorReader<'a>,
        names: &Names,
        config: &Esm2Config,
        word_embeddings: &TensorView<'a>,
    ) -> Result<Option<Self>, ModelError> {
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let (Some(dense), Some(layer_norm), Some(bias), Some(decoder)) = (
            names.lm_head("dense"),
            names.lm_head("layer_norm"),
            names.lm_head("bias"),
            names.lm_decoder(),
        ) else {
            return Ok(None);
        };
        let stored_decoder = reader.take_optional(&decoder, &[vocab, hidden])?;
        let decoder = stored_decoder.unwrap_or_else(|| word_embeddings.clone());
        Ok(Some(Self {
            dense: take_linear(reader, &dense, [hidden, hidden])?,
            layer_norm: take_norm(reader, &layer_norm, hidden)?,
            decoder: [decoder, reader.take(&bias, &[vocab])?],
        }))
    }

    pub(super) fn upload<B: Backend>(&self, backend: &B) -> Result<LmHead<B>, ModelError> {
        Ok(LmHead {
            dense: linear(backend, &self.dense)?,
            layer_norm: norm(backend, &self.layer_norm)?,
            decoder: linear(backend, &self.decoder)?,
        })
    }
}
