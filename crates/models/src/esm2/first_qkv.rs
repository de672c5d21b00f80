//! q, k and v of the first layer, which depend on the token alone until they are rotated.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use virnucpro_backend::{Backend, PackedView};

use super::Esm2Config;
use super::model::{rotary, token_dropout};
use super::weights::Weights;
use crate::ModelError;

/// q, k and v of the first layer for every token of the alphabet, not rotated.
///
/// A product for each token of the alphabet takes the place of one for each token of a batch. Both
/// give the same bits, since those of a row depend on nothing but the row, as long as the device
/// multiplies in the same way: what was made before it changed that is not used. The scale of the
/// embeddings is that of sequences without mask tokens.
pub(super) struct FirstQkv<B: Backend> {
    made: Mutex<Option<Made<B>>>,
}

/// A table, and when it was made.
struct Made<B: Backend> {
    generation: u64,
    table: Arc<B::Table>,
}

impl<B: Backend> FirstQkv<B> {
    pub(super) fn new() -> Self {
        Self { made: Mutex::new(None) }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Made<B>>> {
        // Nothing is half done while it is locked.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn table(&self, generation: u64) -> Option<Arc<B::Table>> {
        let made = self.lock();
        let current = made.as_ref().filter(|made| made.generation == generation);
        current.map(|made| Arc::clone(&made.table))
    }

    /// Makes the table unless it is there. Comes after the first batch: a device that chooses how
    /// to multiply has then chosen by a batch of the usual size.
    pub(super) fn prepare(
        &self,
        backend: &B,
        config: &Esm2Config,
        weights: &Weights<B>,
    ) -> Result<(), ModelError> {
        let generation = backend.generation();
        let Some(first) = weights.layers.first().filter(|_| self.table(generation).is_none())
        else {
            return Ok(());
        };
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
        let table = Arc::new(backend.table_of(&qkv)?);
        *self.lock() = Some(Made { generation, table });
        Ok(())
    }

    /// q, k and v of a batch, rotated; `None` where there is no table, and where mask tokens change
    /// the scale of the embeddings.
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
        let Some(table) = self.table(backend.generation()).filter(|_| !may_be_masked) else {
            return Ok(None);
        };
        let mut qkv = backend.embed(batch, &table, None, None)?;
        backend.rotary(batch, rotary(config), &mut qkv)?;
        Ok(Some(qkv))
    }
}
