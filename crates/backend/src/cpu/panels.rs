//! The right-hand side of a product, laid out in the order in which the micro-kernel reads it.

use super::aligned::AlignedVec;

/// Columns of one panel: four of the widest vectors, which with six rows fill the registers.
pub(super) const PANEL_COLS: usize = 64;

/// Side of the squares in which a panel is transposed: a cache line of values.
const BLOCK: usize = 16;

/// A matrix `[k, n]` as panels of [`PANEL_COLS`] columns: panel after panel, within a panel row
/// after row, the columns beyond `n` zero.
#[derive(Clone, Debug, Default)]
pub(super) struct Panels {
    k: usize,
    values: AlignedVec,
}

impl Panels {
    /// Zeros `[k, n]`.
    pub(super) fn zeros(k: usize, n: usize) -> Self {
        Self { k, values: AlignedVec::zeros(k * n.next_multiple_of(PANEL_COLS)) }
    }

    /// Becomes a matrix `[k, n]` with unspecified contents, in the storage it has.
    pub(super) fn reshape(&mut self, k: usize, n: usize) {
        self.k = k;
        self.values.reserve_len(k * n.next_multiple_of(PANEL_COLS));
    }

    /// Rows `start..end` of panel `panel`, row-major `[end - start, PANEL_COLS]`.
    pub(super) fn rows(&self, panel: usize, start: usize, end: usize) -> &[f32] {
        let panel = panel * self.k;
        &self.values[(panel + start) * PANEL_COLS..(panel + end) * PANEL_COLS]
    }

    /// All panels, mutable, each `[k, PANEL_COLS]`.
    pub(super) fn panels_mut(&mut self) -> std::slice::ChunksExactMut<'_, f32> {
        self.values.chunks_exact_mut((self.k * PANEL_COLS).max(1))
    }
}

/// Transposes up to [`PANEL_COLS`] rows of `k` values into `panel` `[k, PANEL_COLS]`, where
/// `source(column)` is the row that becomes column `column`; a missing row becomes zeros.
#[inline(always)]
pub(super) fn transpose_into<'a>(
    panel: &mut [f32],
    k: usize,
    source: impl Fn(usize) -> Option<&'a [f32]>,
) {
    for first in (0..PANEL_COLS).step_by(BLOCK) {
        for start in (0..k).step_by(BLOCK) {
            let mut block = [[0f32; BLOCK]; BLOCK];
            let width = BLOCK.min(k - start);
            for (c, block) in block.iter_mut().enumerate() {
                let Some(row) = source(first + c) else { break };
                match row[start..].first_chunk() {
                    Some(values) => *block = *values,
                    None => block[..width].copy_from_slice(&row[start..]),
                }
            }
            for i in 0..width {
                let out = &mut panel[(start + i) * PANEL_COLS + first..][..BLOCK];
                for (out, row) in out.iter_mut().zip(&block) {
                    *out = row[i];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transpose_into_every_value_lands_and_the_rest_is_zero() {
        let (k, n) = (19, 70);
        let source: Vec<f32> = (0..k * n).map(|i| i as f32 + 1.0).collect();
        let mut panels = Panels::zeros(k, n);
        for (p, panel) in panels.panels_mut().enumerate() {
            transpose_into(panel, k, |c| {
                let row = p * PANEL_COLS + c;
                (row < n).then(|| &source[row * k..(row + 1) * k])
            });
        }
        for row in 0..k {
            for col in 0..2 * PANEL_COLS {
                let expected = if col < n { source[col * k + row] } else { 0.0 };
                let found = panels.rows(col / PANEL_COLS, row, row + 1)[col % PANEL_COLS];
                assert_eq!(found, expected, "row {row}, column {col}");
            }
        }
    }
}
