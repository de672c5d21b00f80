//! Owns the plain matrix that feature files are read into. Must not read files.

/// A matrix of f32 in row-major order.
///
/// # Shape
/// `[rows, cols]`; `data.len() == rows * cols`.
#[derive(Clone, Debug, PartialEq)]
pub struct Array2 {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// Values, row after row.
    pub data: Vec<f32>,
}

impl Array2 {
    /// One row.
    ///
    /// # Panics
    /// Where `index` is not below `rows`.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.cols..(index + 1) * self.cols]
    }
}
