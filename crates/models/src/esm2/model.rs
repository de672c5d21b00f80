//! The ESM-2 forward.

use virnucpro_backend::{AttentionSpec, Backend, Epilogue, PoolSpec, RotarySpec, TokenDropout};
use virnucpro_weights::Checkpoint;

use super::Esm2Config;
use super::first_qkv::FirstQkv;
use super::weights::{Layer, StoredWeights, Weights};
use crate::ModelError;
use crate::stored::Norm;

/// Share of tokens that ESM-2's training replaced by `<mask>`: 15 % chosen, 80 % of them masked.
///
/// # Source
/// facebookresearch/esm: esm/model/esm2.py, line 88.
const TRAIN_MASK_RATIO: f32 = 0.15 * 0.8;

/// The mean covers at most this many residues, as in the original tool.
///
/// # Source
/// Li-Jing-1997/VirNucPro @0f93f27: units.py, lines 252-261.
const MEAN_POOL_RESIDUES: usize = 1024;

/// An ESM-2 model on a device.
pub struct Esm2<B: Backend> {
    config: Esm2Config,
    weights: Weights<B>,
    first_qkv: FirstQkv<B>,
}

impl<B: Backend> Esm2<B> {
    /// Loads the weights of `checkpoint`, in Hugging Face or fair-esm naming.
    ///
    /// # Errors
    /// A missing, unexpected or misshapen tensor, before anything is allocated.
    pub fn load(
        backend: &B,
        checkpoint: &Checkpoint,
        config: Esm2Config,
    ) -> Result<Self, ModelError> {
        let weights =
            StoredWeights::take(checkpoint, &config)?.upload(backend, config.layer_norm_eps)?;
        Ok(Self { config, weights, first_qkv: FirstQkv::new() })
    }

    /// The model's sizes.
    pub fn config(&self) -> &Esm2Config {
        &self.config
    }

    /// Mean over residues, without BOS and EOS, at most the first 1,024.
    ///
    /// # Source
    /// Li-Jing-1997/VirNucPro @0f93f27: units.py, lines 252-261.
    pub fn mean_pool(&self) -> PoolSpec {
        PoolSpec::Mean { skip_first: 1, skip_last: 1, max_tokens: MEAN_POOL_RESIDUES }
    }

    /// Hidden states of representation `layer`: 0 is the embedding, `num_hidden_layers` the last
    /// layer after the final LayerNorm.
    ///
    /// # Shape
    /// Result `[total_tokens, hidden_size]`, BOS and EOS rows included.
    ///
    /// # Errors
    /// A layer that does not exist, or a batch the backend refuses.
    ///
    /// # Source
    /// facebookresearch/esm: esm/model/esm2.py, lines 75-143.
    pub fn hidden_states(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: usize,
    ) -> Result<B::Activation, ModelError> {
        let config = &self.config;
        let last = config.num_hidden_layers;
        if layer > last {
            return Err(ModelError::NoSuchLayer { layer, last });
        }
        let mut hidden =
            backend.embed(batch, &self.weights.word_embeddings, None, token_dropout(config))?;
        let layers = &self.weights.layers[..layer];
        if let [first, others @ ..] = layers {
            let rows = backend.shape(&hidden).0;
            let known = self.first_qkv.look_up(backend, batch, config)?;
            let is_known = known.is_some();
            let mut scratch = Scratch::new(backend, config, rows, known)?;
            if !is_known {
                self.project(backend, batch, first, &hidden, &mut scratch)?;
            }
            self.layer(backend, batch, first, &mut hidden, &mut scratch)?;
            for weights in others {
                self.project(backend, batch, weights, &hidden, &mut scratch)?;
                self.layer(backend, batch, weights, &mut hidden, &mut scratch)?;
            }
            drop(scratch);
            self.first_qkv.prepare(backend, config, &self.weights)?;
        }
        if layer == last {
            let Norm { gamma, beta } = &self.weights.final_norm;
            backend.layer_norm_in_place(&mut hidden, gamma, beta, config.layer_norm_eps)?;
        }
        Ok(hidden)
    }

    /// Logits over the alphabet from the last hidden states.
    ///
    /// # Shape
    /// `hidden_states` `[total_tokens, hidden_size]`, result `[total_tokens, vocab_size]`.
    ///
    /// # Errors
    /// [`ModelError::NoLmHead`] for a checkpoint without that head; hidden states of another
    /// width.
    ///
    /// # Source
    /// facebookresearch/esm: esm/modules.py, RobertaLMHead.
    pub fn logits(
        &self,
        backend: &B,
        hidden_states: &B::Activation,
    ) -> Result<B::Activation, ModelError> {
        let head = self.weights.lm_head.as_ref().ok_or(ModelError::NoLmHead)?;
        head.logits(backend, &self.config, hidden_states)
    }

    /// q, k and v of a layer, rotated.
    fn project(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: &Layer<B>,
        hidden: &B::Activation,
        Scratch { normed, qkv, .. }: &mut Scratch<B>,
    ) -> Result<(), ModelError> {
        let rotary = rotary(&self.config);
        Ok(backend.normed_linear_rotary(batch, hidden, &layer.qkv, rotary, normed, qkv)?)
    }

    /// What follows when q, k and v are there.
    fn layer(
        &self,
        backend: &B,
        batch: &B::Batch,
        layer: &Layer<B>,
        hidden: &mut B::Activation,
        scratch: &mut Scratch<B>,
    ) -> Result<(), ModelError> {
        let config = &self.config;
        let (num_heads, head_dim) = (config.num_attention_heads, config.head_dim());
        let Scratch { normed, qkv, context, ffn } = scratch;
        let attention = AttentionSpec {
            num_heads,
            head_dim,
            softmax_scale: (head_dim as f32).sqrt().recip(),
            alibi_slopes: None,
        };
        backend.attention(batch, attention, qkv, context)?;
        backend.linear(context, &layer.attention_output, Epilogue::Accumulate, hidden)?;

        backend.normed_linear(hidden, &layer.fc1, Epilogue::Gelu, normed, ffn)?;
        backend.linear(ffn, &layer.fc2, Epilogue::Accumulate, hidden)?;
        Ok(())
    }
}

/// How the embeddings of a sequence are scaled.
pub(super) fn token_dropout(config: &Esm2Config) -> Option<TokenDropout> {
    config.token_dropout.then_some(TokenDropout {
        mask_token_id: config.mask_token_id,
        train_mask_ratio: TRAIN_MASK_RATIO,
    })
}

pub(super) fn rotary(config: &Esm2Config) -> RotarySpec {
    RotarySpec {
        num_heads: config.num_attention_heads,
        head_dim: config.head_dim(),
        base: config.rope_theta,
    }
}

/// Activations that every layer uses anew.
struct Scratch<B: Backend> {
    normed: B::Activation,
    qkv: B::Activation,
    context: B::Activation,
    ffn: B::Activation,
}

impl<B: Backend> Scratch<B> {
    /// `qkv` may be there already.
    fn new(
        backend: &B,
        config: &Esm2Config,
        rows: usize,
        qkv: Option<B::Activation>,
    ) -> Result<Self, ModelError> {
        Ok(Self {
            normed: backend.scratch(rows, config.hidden_size)?,
            qkv: qkv.map_or_else(|| backend.scratch(rows, 3 * config.hidden_size), Ok)?,
            context: backend.scratch(rows, config.hidden_size)?,
            ffn: backend.scratch(rows, config.intermediate_size)?,
        })
    }
}
