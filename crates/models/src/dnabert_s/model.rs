//! The DNABERT-S forward.

use virnucpro_backend::{AttentionSpec, Backend, Epilogue, PoolSpec};
use virnucpro_weights::Checkpoint;

use super::weights::{Layer, StoredWeights, Weights};
use super::{DnabertSConfig, alibi_slopes};
use crate::ModelError;
use crate::stored::Norm;

/// A DNABERT-S model on a device.
pub struct DnabertS<B: Backend> {
    config: DnabertSConfig,
    alibi_slopes: Vec<f32>,
    weights: Weights<B>,
}

impl<B: Backend> DnabertS<B> {
    /// Loads the weights of `checkpoint`.
    ///
    /// # Errors
    /// A missing, unexpected or misshapen tensor, before anything is allocated.
    pub fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        config: DnabertSConfig,
    ) -> Result<Self, ModelError> {
        let weights = StoredWeights::take(checkpoint, &config)?.upload(backend)?;
        let alibi_slopes = alibi_slopes(config.num_attention_heads);
        Ok(Self { config, alibi_slopes, weights })
    }

    /// The model's sizes.
    pub fn config(&self) -> &DnabertSConfig {
        &self.config
    }

    /// Mean over all tokens, `[CLS]` and `[SEP]` included.
    ///
    /// # Source
    /// Li-Jing-1997/VirNucPro @0f93f27: units.py, lines 185-196.
    pub fn mean_pool(&self) -> PoolSpec {
        PoolSpec::Mean { skip_first: 0, skip_last: 0, max_tokens: usize::MAX }
    }

    /// Hidden states after `layer` layers; 0 is the normalised embedding.
    ///
    /// # Shape
    /// Result `[total_tokens, hidden_size]`, `[CLS]` and `[SEP]` rows included.
    ///
    /// # Errors
    /// A layer that does not exist, or a batch the backend refuses.
    ///
    /// # Source
    /// MAGICS-LAB/DNABERT_S: evaluate/model_codes/bert_layers.py.
    pub fn hidden_states(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: usize,
    ) -> Result<B::Activation, ModelError> {
        let (config, weights) = (&self.config, &self.weights);
        let last = config.num_hidden_layers;
        if layer > last {
            return Err(ModelError::NoSuchLayer { layer, last });
        }
        let mut hidden =
            backend.embed(batch, &weights.word_embeddings, Some(&weights.token_type), None)?;
        self.normalise(backend, &weights.embedding_norm, &mut hidden)?;
        let mut scratch = Scratch::new(backend, config, backend.shape(&hidden).0)?;
        for layer in &weights.layers[..layer] {
            self.layer(backend, batch, layer, &mut hidden, &mut scratch)?;
        }
        Ok(hidden)
    }

    fn normalise(
        &self,
        backend: &B,
        Norm { gamma, beta }: &Norm<B>,
        hidden: &mut B::Activation,
    ) -> Result<(), ModelError> {
        Ok(backend.layer_norm_in_place(hidden, gamma, beta, self.config.layer_norm_eps)?)
    }

    fn layer(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: &Layer<B>,
        hidden: &mut B::Activation,
        scratch: &mut Scratch<B>,
    ) -> Result<(), ModelError> {
        let Scratch { qkv, context, gated, ffn } = scratch;
        let head_dim = self.config.head_dim();
        backend.linear(hidden, &layer.qkv, Epilogue::Store, qkv)?;
        let attention = AttentionSpec {
            num_heads: self.config.num_attention_heads,
            head_dim,
            softmax_scale: (head_dim as f32).sqrt().recip(),
            alibi_slopes: Some(&self.alibi_slopes),
        };
        backend.attention(batch, attention, qkv, context)?;
        backend.linear(context, &layer.attention_output, Epilogue::Accumulate, hidden)?;
        self.normalise(backend, &layer.attention_norm, hidden)?;

        backend.linear_gated(hidden, &layer.gated_layers, gated, ffn)?;
        backend.linear(ffn, &layer.mlp_output, Epilogue::Accumulate, hidden)?;
        self.normalise(backend, &layer.mlp_norm, hidden)
    }
}

/// Activations that every layer uses anew.
struct Scratch<B: Backend> {
    qkv: B::Activation,
    context: B::Activation,
    gated: B::Activation,
    ffn: B::Activation,
}

impl<B: Backend> Scratch<B> {
    fn new(backend: &B, config: &DnabertSConfig, rows: usize) -> Result<Self, ModelError> {
        Ok(Self {
            qkv: backend.scratch(rows, 3 * config.hidden_size)?,
            context: backend.scratch(rows, config.hidden_size)?,
            gated: backend.scratch(rows, 2 * config.intermediate_size)?,
            ffn: backend.scratch(rows, config.intermediate_size)?,
        })
    }
}
