//! Activations on the device.

use super::arena::Piece;
use crate::Precision;

/// A row-major matrix of activations `[rows, cols]`, in the element type of the device or, where
/// it is a result, in f32.
#[derive(Debug)]
pub struct CudaActivation {
    pub(super) piece: Piece,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) element: Precision,
    /// i32 per sequence, 1 where a result of it is NaN or infinite; of results alone.
    pub(super) not_finite: Option<Piece>,
    /// Sequences of the batch that a result belongs to.
    pub(super) num_seqs: usize,
    /// What the last kernel that wrote this has found out about its rows.
    pub(super) moments: Option<Moments>,
}

/// f32 `[tiles, rows, 2]`: of each of a row's tiles of columns, and each row, the mean of its values and
/// the sum of their squares around it.
#[derive(Debug)]
pub(super) struct Moments {
    pub(super) piece: Piece,
    pub(super) tiles: usize,
}

impl CudaActivation {
    pub(super) fn address(&self) -> u64 {
        self.piece.address()
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.len() * self.element.size_bytes()
    }
}
