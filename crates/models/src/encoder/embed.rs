//! What an encoder on a device makes of a batch.

use virnucpro_backend::{AttentionSpec, Backend, BackendError, PackedView, PoolSpec};
use virnucpro_batch::PackedBatch;

use crate::ModelError;
use crate::dnabert_s::{self, DnabertS};
use crate::esm2::Esm2;

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

/// The arrays of a batch as a backend takes them.
///
/// # Errors
/// None for a batch that exists, since both types check the same invariants.
pub fn packed_view(batch: &PackedBatch) -> Result<PackedView<'_>, BackendError> {
    PackedView::new(batch.input_ids(), batch.cu_seqlens(), batch.position_ids(), batch.max_seqlen())
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

    /// Number of token ids.
    pub fn vocab_size(&self) -> usize {
        match self {
            Self::Esm2(model) => model.config().vocab_size,
            Self::DnabertS(model) => model.config().vocab_size,
        }
    }

    /// Number of layers, which is also the number of the last representation.
    pub fn num_hidden_layers(&self) -> usize {
        match self {
            Self::Esm2(model) => model.config().num_hidden_layers,
            Self::DnabertS(model) => model.config().num_hidden_layers,
        }
    }

    /// The model's own mean over tokens, as [`Pooling::Mean`] uses it.
    pub fn mean_pool(&self) -> PoolSpec {
        match self {
            Self::Esm2(model) => model.mean_pool(),
            Self::DnabertS(model) => model.mean_pool(),
        }
    }

    /// Hidden states of representation `layer`, left on the device.
    ///
    /// # Shape
    /// Result `[total_tokens, hidden_size]`, special tokens included.
    ///
    /// # Errors
    /// A layer that does not exist, or a batch the backend refuses.
    pub fn hidden_states(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: usize,
    ) -> Result<B::Activation, ModelError> {
        match self {
            Self::Esm2(model) => model.hidden_states(backend, batch, layer),
            Self::DnabertS(model) => model.hidden_states(backend, batch, layer),
        }
    }

    /// Embeddings from representation `layer`, left on the device.
    ///
    /// # Shape
    /// Result `[num_seqs, hidden_size]`, or `[total_tokens, hidden_size]` without pooling.
    ///
    /// # Errors
    /// A layer that does not exist, or a batch the backend refuses.
    pub fn pooled(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: usize,
        pooling: Pooling,
    ) -> Result<B::Activation, ModelError> {
        let hidden = self.hidden_states(backend, batch, layer)?;
        Ok(match pooling {
            Pooling::Mean => backend.pool(batch, self.mean_pool(), &hidden)?,
            Pooling::Bos => backend.pool(batch, PoolSpec::First, &hidden)?,
            Pooling::None => hidden,
        })
    }

    /// Refuses a device that cannot run this model on packed batches.
    ///
    /// # Errors
    /// The backend's refusal, naming what is missing.
    pub fn check(&self, backend: &B) -> Result<(), ModelError> {
        let (num_heads, head_dim, alibi_slopes) = match self {
            Self::Esm2(model) => {
                (model.config().num_attention_heads, model.config().head_dim(), None)
            }
            Self::DnabertS(model) => {
                let config = model.config();
                let slopes = dnabert_s::alibi_slopes(config.num_attention_heads);
                (config.num_attention_heads, config.head_dim(), Some(slopes))
            }
        };
        let softmax_scale = (head_dim as f32).sqrt().recip();
        let alibi_slopes = alibi_slopes.as_deref();
        let spec = AttentionSpec { num_heads, head_dim, softmax_scale, alibi_slopes };
        Ok(backend.check_attention(spec)?)
    }

    /// Embeds one packed batch from representation `layer`, on the host.
    ///
    /// # Shape
    /// [`Embeddings`]: `[num_seqs, hidden_size]` or, without pooling,
    /// `[total_tokens, hidden_size]`, in the order of the batch.
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
        let on_device = backend.upload(packed_view(batch)?)?;
        let pooled = self.pooled(backend, &on_device, layer, pooling)?;
        let values = backend.download(&pooled)?;
        Ok(Embeddings { values, hidden_size: self.hidden_size() })
    }
}
