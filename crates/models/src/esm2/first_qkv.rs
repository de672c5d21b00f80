//! q, k and v of the first layer, which depend on the token alone until they are rotated.

use virnucpro_backend::{Backend, PackedView};

use super::Esm2Config;
use super::model::{rotary, token_dropout};
use super::weights::Weights;
use crate::ModelError;

/// q, k and v of the first layer for every token of the alphabet, not rotated.
///
/// A product for each token of the alphabet takes the place of one for each token of a batch. Both
/// give the same bits, since those of a row depend on nothing but the row. The scale of the
/// embeddings is that of sequences without mask tokens.
pub(super) struct FirstQkv<B: Backend> {
    table: Option<B::Table>,
}

impl<B: Backend> FirstQkv<B> {
    pub(super) fn new(
        backend: &B,
        config: &Esm2Config,
        weights: &Weights<B>,
    ) -> Result<Self, ModelError> {
        let Some(first) = weights.layers.first() else { return Ok(Self { table: None }) };
        // Sequences of one token: nothing turns at position 0.
        let vocab = config.vocab_size;
        let input_ids: Vec<u32> = (0..vocab as u32).collect();
        let cu_seqlens: Vec<i32> = (0..=vocab as i32).collect();
        let position_ids = vec![0; vocab];
        let view = PackedView::new(&input_ids, &cu_seqlens, &position_ids, 1)?;
        let batch = backend.upload(view)?;
        let hidden =
            backend.embed(&batch, &weights.word_embeddings, None, token_dropout(config))?;
        let mut normed = backend.scratch(vocab, config.hidden_size)?;
        let mut qkv = backend.scratch(vocab, 3 * config.hidden_size)?;
        let spec = rotary(config);
        backend.normed_linear_rotary(&batch, &hidden, &first.qkv, spec, &mut normed, &mut qkv)?;
        Ok(Self { table: Some(backend.table_of(&qkv)?) })
    }

    /// q, k and v of a batch, rotated; `None` where mask tokens change the scale of the embeddings.
    ///
    /// # Shape
    /// `[total_tokens, 3 × hidden_size]`.
    pub(super) fn look_up(
        &self,
        backend: &B,
        batch: &B::Batch,
        config: &Esm2Config,
    ) -> Result<Option<B::Activation>, ModelError> {
        let may_be_masked =
            config.token_dropout && backend.largest_token(batch) >= config.mask_token_id;
        let Some(table) = self.table.as_ref().filter(|_| !may_be_masked) else { return Ok(None) };
        let mut qkv = backend.embed(batch, table, None, None)?;
        backend.rotary(batch, rotary(config), &mut qkv)?;
        Ok(Some(qkv))
    }
}
