//! Linear layers: their weights, and how their work is divided.

use std::ops::Range;

use pulp::Arch;
use rayon::prelude::*;

use super::aligned::AlignedVec;
use super::linear_tile::Tile;
use super::matrix::Matrix;
use super::panels::{PANEL_COLS, Panels, transpose_into};
use crate::{BackendError, Epilogue, TensorView};

/// Rows of one unit of work, a multiple of the rows of the micro-kernel: enough to reuse a block
/// of weights while it is in cache, few enough to balance the threads.
const TILE_ROWS: usize = 96;

/// Units of work wanted for each thread, so that the last ones to finish wait little.
const TILES_PER_THREAD: usize = 8;

/// A linear layer on the host: weights `[in_features, out_features]`, that is, transposed, in
/// panels; bias f32 `[out_features]`, zeros if absent.
#[derive(Clone, Debug)]
pub struct CpuLinear {
    in_features: usize,
    out_features: usize,
    weights: Panels,
    bias: AlignedVec,
}

impl CpuLinear {
    /// Stacks `[out_i, in_features]` weights along the output.
    pub(super) fn stack(
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<Self, BackendError> {
        const OP: &str = "linear_weights";
        let first = weights.first().map_or(&[][..], |w| w.shape());
        BackendError::expect(OP, "number of weight dimensions", first.len(), 2)?;
        let in_features = first[1];
        if !biases.is_empty() {
            BackendError::expect(OP, "number of biases", biases.len(), weights.len())?;
        }
        let mut out_features = 0;
        for (i, weight) in weights.iter().enumerate() {
            BackendError::expect(OP, "number of weight dimensions", weight.shape().len(), 2)?;
            BackendError::expect(OP, "in_features", weight.shape()[1], in_features)?;
            if let Some(bias) = biases.get(i) {
                let expected = weight.shape()[0];
                BackendError::expect(OP, "bias length", bias.shape().iter().product(), expected)?;
            }
            out_features += weight.shape()[0];
        }
        let mut values = Vec::new();
        let mut bias = AlignedVec::zeros(out_features.next_multiple_of(PANEL_COLS));
        let mut column = 0;
        for (i, weight) in weights.iter().enumerate() {
            let rows = weight.shape()[0];
            if let Some(b) = biases.get(i) {
                bias[column..column + rows].copy_from_slice(&b.to_f32_vec()?);
            }
            values.push(weight.to_f32_vec()?);
            column += rows;
        }
        let rows: Vec<&[f32]> =
            values.iter().flat_map(|values| values.chunks_exact(in_features.max(1))).collect();
        let mut weights = Panels::zeros(in_features, out_features);
        weights.panels_mut().enumerate().par_bridge().for_each(|(p, panel)| {
            transpose_into(panel, in_features, |c| rows.get(p * PANEL_COLS + c).copied());
        });
        Ok(Self { in_features, out_features, weights, bias })
    }

    /// `[rows, in_features] → [rows, out_features]` with the epilogue.
    pub(super) fn forward(
        &self,
        x: &Matrix,
        epilogue: Epilogue,
        out: &mut Matrix,
    ) -> Result<(), BackendError> {
        BackendError::expect("linear", "columns of x", x.cols(), self.in_features)?;
        BackendError::expect("linear", "columns of out", out.cols(), self.out_features)?;
        BackendError::expect("linear", "rows of out", out.rows(), x.rows())?;
        if self.out_features == 0 || self.in_features == 0 {
            return Ok(());
        }
        self.tiles(x, epilogue, out).into_par_iter().for_each(|tile| Arch::new().dispatch(tile));
        Ok(())
    }

    /// Divides the result into tiles of rows, and those also into columns where there are too few
    /// for the threads. The sum over `in_features` is never divided.
    fn tiles<'a>(
        &'a self,
        x: &'a Matrix,
        epilogue: Epilogue,
        out: &'a mut Matrix,
    ) -> Vec<Tile<'a>> {
        let row_tiles = x.rows().div_ceil(TILE_ROWS).max(1);
        let wanted = TILES_PER_THREAD * rayon::current_num_threads();
        let panels = self.out_features.div_ceil(PANEL_COLS);
        let group = panels.div_ceil(wanted.div_ceil(row_tiles).min(panels));
        let groups = panels.div_ceil(group);
        let mut tiles = Vec::with_capacity(row_tiles * groups);
        let blocks = out.values_mut().chunks_mut(TILE_ROWS * self.out_features);
        for (x, out) in x.values().chunks(TILE_ROWS * self.in_features).zip(blocks) {
            let first = tiles.len();
            tiles.extend((0..groups).map(|g| self.tile(x, epilogue, g * group..panels, group)));
            for mut rest in out.chunks_exact_mut(self.out_features) {
                for tile in &mut tiles[first..] {
                    let cols = rest.len().min(group * PANEL_COLS);
                    tile.out.push(rest.split_off_mut(..cols).expect("cols is within the row"));
                }
            }
        }
        tiles
    }

    fn tile<'a>(
        &'a self,
        x: &'a [f32],
        epilogue: Epilogue,
        panels: Range<usize>,
        group: usize,
    ) -> Tile<'a> {
        Tile {
            x,
            in_features: self.in_features,
            weights: &self.weights,
            bias: &self.bias,
            epilogue,
            panels: panels.start..panels.end.min(panels.start + group),
            out: Vec::with_capacity(x.len() / self.in_features),
        }
    }
}
