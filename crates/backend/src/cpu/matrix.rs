//! Row-major f32 matrices on the host.

use std::sync::Arc;

use super::buffers::Buffers;

/// A row-major f32 matrix `[rows, cols]`.
#[derive(Clone, Debug)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    values: Vec<f32>,
    /// Where the values go when the matrix is dropped.
    origin: Option<Arc<Buffers>>,
}

impl Matrix {
    /// A matrix of zeros.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        Self::from_vec(rows, cols, vec![0.0; rows * cols])
    }

    /// Wraps row-major values.
    ///
    /// # Panics
    /// If `values.len()` is not `rows × cols`.
    pub fn from_vec(rows: usize, cols: usize, values: Vec<f32>) -> Self {
        assert_eq!(values.len(), rows * cols, "a matrix needs rows × cols values");
        Self { rows, cols, values, origin: None }
    }

    /// A matrix with unspecified contents, in storage that goes back to `buffers` when it is
    /// dropped.
    pub(super) fn recycled(buffers: &Arc<Buffers>, rows: usize, cols: usize) -> Self {
        let values = buffers.take(rows * cols);
        Self { rows, cols, values, origin: Some(Arc::clone(buffers)) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All values, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, row-major, mutable.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// One row.
    pub fn row(&self, row: usize) -> &[f32] {
        &self.values[row * self.cols..(row + 1) * self.cols]
    }
}

impl Drop for Matrix {
    fn drop(&mut self) {
        if let Some(buffers) = &self.origin {
            buffers.give_back(std::mem::take(&mut self.values));
        }
    }
}

impl PartialEq for Matrix {
    fn eq(&self, other: &Self) -> bool {
        (self.rows, self.cols) == (other.rows, other.cols) && self.values == other.values
    }
}
