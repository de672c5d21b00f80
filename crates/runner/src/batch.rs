//! What goes into the runner and what comes out.

use std::ops::Range;
use std::sync::Arc;

use virnucpro_batch::{PackedBatch, SequenceId};

use crate::BoxError;

/// A packed batch and the part of the model that computes it.
#[derive(Clone, Debug)]
pub struct InferenceBatch {
    /// The sequences; ids are part of it, and as many as `cu_seqlens` says.
    pub packed: PackedBatch,
    /// Which part of the model: 0 for a model of one part.
    pub task: usize,
    /// Name of that part in reports.
    pub task_name: Arc<str>,
    /// Tokens that the batch was packed to.
    pub token_budget: usize,
}

impl InferenceBatch {
    /// A batch for a model of one part.
    pub fn new(packed: PackedBatch, token_budget: usize) -> Self {
        Self { packed, task: 0, task_name: "model".into(), token_budget }
    }
}

/// Why a source of batches ended before its end.
#[derive(Debug)]
pub struct LoaderFailure {
    /// Id of the record it happened at, where one is known.
    pub record: Option<String>,
    /// The cause.
    pub source: BoxError,
}

/// The embeddings of one batch.
///
/// # Shape
/// `embeddings` f32 row-major `[num_seqs, hidden_size]`, rows in the order of `sequence_ids`; or
/// `[total_tokens, hidden_size]` where nothing was pooled.
#[derive(Clone, Debug, PartialEq)]
pub struct InferenceResult {
    /// Number of the batch in the order of the source, from 0.
    pub batch_idx: u64,
    /// Which part of the model computed it.
    pub task: usize,
    /// The sequences, exactly as they came in.
    pub sequence_ids: Vec<SequenceId>,
    /// The values.
    pub embeddings: Vec<f32>,
    /// Width of a row.
    pub hidden_size: usize,
    /// Tokens of the batch.
    pub total_tokens: usize,
    /// Sequences whose rows hold NaN or infinity, after recomputation where there was one.
    pub non_finite: Vec<SequenceId>,
    /// Half-open row range of each sequence.
    pub(crate) rows: Vec<Range<usize>>,
}

impl InferenceResult {
    /// Each sequence with its rows, `[hidden_size]` values or `[tokens, hidden_size]`.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = (SequenceId, &[f32])> {
        let width = self.hidden_size;
        self.sequence_ids
            .iter()
            .zip(&self.rows)
            .map(move |(&id, rows)| (id, &self.embeddings[rows.start * width..rows.end * width]))
    }
}
