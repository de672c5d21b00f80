//! One encoder at work: letters in, embeddings out, in the order given.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use virnucpro_backend::Backend;
use virnucpro_batch::{
    BatchError, Encoding, PackedBatch, PackingMetrics, SequenceId, SequenceTokenizer,
    TokenizedSequence, pack_first_fit_decreasing,
};
use virnucpro_models::{Encoder, EncoderSource, Pooling};

use crate::timing::Timings;
use crate::{CancelToken, PipelineError};

/// Tokens of a packed batch unless the user says otherwise. On two cores the `mini` encoders are
/// fastest at 1,024 and 2,048 tokens and lose 6 to 8 % at 4,096, where activations leave the
/// caches (BENCHMARKS.md); the larger of the two packs a little better.
pub(crate) const DEFAULT_TOKEN_BUDGET: usize = 2048;

/// What an encoder did so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EncodeCounts {
    pub(crate) unknown_tokens: u64,
    pub(crate) packing: PackingMetrics,
}

/// A loaded encoder with its tokenizer.
pub(crate) struct EncoderStage<'a, B: Backend> {
    name: &'static str,
    backend: &'a B,
    encoder: Encoder<B>,
    tokenizer: Box<dyn SequenceTokenizer>,
    token_budget: NonZeroUsize,
    layer: usize,
    pooling: Pooling,
    counts: EncodeCounts,
}

impl<'a, B: Backend> EncoderStage<'a, B> {
    /// Loads an encoder; `layer` is the last one unless given.
    pub(crate) fn load(
        name: &'static str,
        backend: &'a B,
        source: &EncoderSource,
        token_budget: NonZeroUsize,
        layer: Option<usize>,
        pooling: Pooling,
    ) -> Result<Self, PipelineError> {
        let last = source.config().num_hidden_layers();
        let layer = layer.unwrap_or(last);
        if layer > last {
            return Err(virnucpro_models::ModelError::NoSuchLayer { layer, last }.into());
        }
        let tokenizer = source.tokenizer()?;
        let encoder = source.load(backend)?;
        let counts = EncodeCounts::default();
        Ok(Self { name, backend, encoder, tokenizer, token_budget, layer, pooling, counts })
    }

    pub(crate) fn hidden_size(&self) -> usize {
        self.encoder.hidden_size()
    }

    pub(crate) fn counts(&self) -> EncodeCounts {
        self.counts
    }

    /// Embeds `sequences` and hands each result to `deliver` with its index, in packed order.
    ///
    /// `deliver` gets `[hidden_size]` values, or `[tokens, hidden_size]` without pooling;
    /// `after_batch` gets each batch that is done.
    pub(crate) fn run(
        &mut self,
        sequences: &[&[u8]],
        timings: &mut Timings,
        cancel: &CancelToken,
        mut deliver: impl FnMut(usize, &[f32]),
        after_batch: &mut (dyn FnMut(&PackedBatch) + Send),
    ) -> Result<(), PipelineError> {
        let encodings = timings.time("tokenize", || self.tokenize(sequences))?;
        let batches = timings.time("pack", || self.pack(encodings))?;
        let mut delivered = 0;
        for batch in batches {
            cancel.check()?;
            let embeddings = timings.time(self.name, || {
                self.encoder.embed(self.backend, &batch, self.layer, self.pooling)
            })?;
            let width = embeddings.hidden_size;
            for ((row, id), tokens) in
                batch.sequence_ids().iter().enumerate().zip(batch.token_ranges())
            {
                let rows = if self.pooling == Pooling::None { tokens } else { row..row + 1 };
                deliver(id.0 as usize, &embeddings.values[rows.start * width..rows.end * width]);
                delivered += 1;
            }
            self.counts.packing.record(&batch, self.token_budget.get());
            after_batch(&batch);
        }
        let received = sequences.len();
        if delivered != received {
            return Err(PipelineError::LostSequences { encoder: self.name, received, delivered });
        }
        Ok(())
    }

    fn tokenize(&self, sequences: &[&[u8]]) -> Result<Vec<Encoding>, BatchError> {
        sequences.par_iter().map(|sequence| self.tokenizer.encode(sequence)).collect()
    }

    fn pack(&mut self, encodings: Vec<Encoding>) -> Result<Vec<PackedBatch>, BatchError> {
        let mut sequences = Vec::with_capacity(encodings.len());
        for (index, encoding) in encodings.into_iter().enumerate() {
            self.counts.unknown_tokens += encoding.unknown_tokens as u64;
            let sequence_id = SequenceId(index as u64);
            sequences.push(TokenizedSequence { sequence_id, input_ids: encoding.input_ids });
        }
        pack_first_fit_decreasing(sequences, self.token_budget)
    }
}
