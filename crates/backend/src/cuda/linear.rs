//! Linear layers: through cuBLASLt, or with what stands before and behind them in one kernel where
//! there is one.

use super::activation::{CudaActivation, Moments};
use super::arena::Piece;
use super::batch::CudaBatch;
use super::gemm::{GemmShape, Operands};
use super::launch::{Arg, Geometry};
use super::linear_kernel::{
    LINEAR_CLUSTER, LINEAR_FEATURES, LINEAR_ROWS, LinearKernel, LinearStep, PANEL_FEATURES,
    PANEL_ROWS, ROTARY_HEAD_DIM,
};
use super::operations::{BLOCK, WARP, pointer_or_null};
use super::profile::family;
use super::source::KernelFile;
use super::tensor_map::TensorMap;
use super::weights::CudaLinear;
use super::{CudaBackend, CudaError};
use crate::{Backend, BackendError, Epilogue, NormedLinear, RotarySpec};

/// 16-byte vectors that a thread of gelu.cu takes.
const GELU_VECTORS: usize = 4;

/// What a layer and the step behind it are launched with.
struct Fused<'a> {
    kernel: LinearKernel,
    /// A factor for each row, 1 where there is none; a residual addition has none.
    scales: Option<&'a Piece>,
    /// Arguments of this step alone.
    more: &'a [Arg],
}

/// Refuses scratch that the same operation would not accept on another device.
fn expect_extents(
    what: &'static str,
    scratch: &CudaActivation,
    rows: usize,
    cols: usize,
) -> Result<(), BackendError> {
    BackendError::expect(what, "rows", scratch.rows, rows)?;
    BackendError::expect(what, "columns", scratch.cols, cols)
}

impl CudaBackend {
    pub(super) fn multiply(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        epilogue: Epilogue,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.expect_linear(x, layer, out, layer.out_features)?;
        self.context.bind()?;
        out.moments = None;
        if x.rows == 0 {
            return Ok(());
        }
        match epilogue {
            Epilogue::Gelu => {
                if let Some(kernel) = self.fused(LinearStep::Gelu, layer) {
                    return Ok(self.multiply_gelu(kernel, x, layer, None, out)?);
                }
            }
            Epilogue::Accumulate => {
                if let Some(kernel) = self.fused(LinearStep::Residual, layer) {
                    return Ok(self.multiply_and_add(kernel, x, layer, out)?);
                }
            }
            Epilogue::Store | Epilogue::Relu => {}
        }
        let shape = GemmShape {
            m: layer.out_features,
            k: layer.in_features,
            has_bias: layer.bias.is_some(),
            relu: epilogue == Epilogue::Relu,
            accumulate: epilogue == Epilogue::Accumulate,
        };
        let operands = Operands {
            x: x.address(),
            weights: layer.weights.address(),
            bias: layer.bias.as_ref().map_or(0, |bias| bias.address()),
            out: out.address(),
            rows: x.rows,
        };
        self.profile.family(&self.context, &self.compute, family::GEMM, || {
            // SAFETY: the extents were checked above; activations come from the arena of the
            // stream that all products of this engine are queued on.
            unsafe { self.gemm.multiply(&self.compute, shape, operands) }
        })?;
        if epilogue == Epilogue::Gelu {
            let per_block = BLOCK * self.precision.vector() * GELU_VECTORS;
            let geometry = Geometry::row(out.len().div_ceil(per_block), BLOCK);
            let args = [Arg::Pointer(out.address()), Arg::Long(out.len() as i64)];
            self.launch(family::GELU, KernelFile::Gelu, "gelu", geometry, &args)?;
        }
        Ok(())
    }

    pub(super) fn normalise_and_multiply(
        &self,
        x: &CudaActivation,
        layer: &NormedLinear<Self>,
        epilogue: Epilogue,
        normed: &mut CudaActivation,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        let NormedLinear { gamma, beta, eps, linear } = layer;
        let kernel = self.fused(LinearStep::Gelu, linear);
        let Some(kernel) = kernel.filter(|_| linear.is_folded && epilogue == Epilogue::Gelu) else {
            self.layer_norm(x, gamma, beta, *eps, normed)?;
            return self.multiply(normed, linear, epilogue, out);
        };
        self.expect_linear(x, linear, out, linear.out_features)?;
        expect_extents("normed", normed, x.rows, x.cols)?;
        self.context.bind()?;
        out.moments = None;
        if x.rows == 0 {
            return Ok(());
        }
        let scales = self.row_scales(x, *eps)?;
        Ok(self.multiply_gelu(kernel, x, linear, Some(&scales), out)?)
    }

    pub(super) fn normalise_multiply_and_rotate(
        &self,
        batch: &CudaBatch,
        x: &CudaActivation,
        layer: &NormedLinear<Self>,
        spec: RotarySpec,
        normed: &mut CudaActivation,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        let NormedLinear { gamma, beta, eps, linear } = layer;
        let Some(kernel) = self.fused_rotary(linear, spec).filter(|_| linear.is_folded) else {
            self.layer_norm(x, gamma, beta, *eps, normed)?;
            return self.multiply_and_rotate(batch, normed, linear, spec, qkv);
        };
        expect_extents("normed", normed, x.rows, x.cols)?;
        self.launch_rotary(kernel, batch, (x, Some(*eps)), linear, spec, qkv)
    }

    pub(super) fn multiply_and_rotate(
        &self,
        batch: &CudaBatch,
        x: &CudaActivation,
        layer: &CudaLinear,
        spec: RotarySpec,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        let Some(kernel) = self.fused_rotary(layer, spec) else {
            self.multiply(x, layer, Epilogue::Store, qkv)?;
            return self.rotary(batch, spec, qkv);
        };
        self.launch_rotary(kernel, batch, (x, None), layer, spec, qkv)
    }

    pub(super) fn multiply_and_gate(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        gated: &mut CudaActivation,
        out: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        // The kernel knows where the weights of the values are, but not their biases.
        let kernel = self.fused(LinearStep::Gated, layer).filter(|_| layer.bias.is_none());
        let Some(kernel) = kernel else {
            self.multiply(x, layer, Epilogue::Store, gated)?;
            return self.gated_gelu(gated, out);
        };
        self.expect_linear(x, layer, out, layer.out_features / 2)?;
        expect_extents("gated", gated, x.rows, layer.out_features)?;
        self.context.bind()?;
        out.moments = None;
        if x.rows == 0 {
            return Ok(());
        }
        let fused = Fused { kernel, scales: None, more: &[] };
        Ok(self.multiply_fused(&fused, x, layer, out)?)
    }

    fn expect_linear(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        out: &CudaActivation,
        out_features: usize,
    ) -> Result<(), BackendError> {
        self.expect_elements("linear", x)?;
        self.expect_elements("linear", out)?;
        BackendError::expect("linear", "columns of x", x.cols, layer.in_features)?;
        BackendError::expect("linear", "columns of out", out.cols, out_features)?;
        BackendError::expect("linear", "rows of out", out.rows, x.rows)
    }

    /// The kernel that multiplies and takes this step at once, if there is one for these extents.
    pub(super) fn linear_kernel(
        &self,
        step: LinearStep,
        out_features: usize,
        in_features: usize,
    ) -> Option<LinearKernel> {
        let properties = &self.context.properties;
        let capability = properties.capability;
        LinearKernel::new(step, self.precision, capability, out_features, in_features)
            .filter(|_| LinearKernel::SHARED_BYTES <= properties.shared_bytes_per_block)
    }

    /// The same for a layer, unless nothing is to be fused.
    fn fused(&self, step: LinearStep, layer: &CudaLinear) -> Option<LinearKernel> {
        let kernel = || self.linear_kernel(step, layer.out_features, layer.in_features);
        self.is_fusing().then(kernel).flatten()
    }

    fn fused_rotary(&self, layer: &CudaLinear, spec: RotarySpec) -> Option<LinearKernel> {
        let RotarySpec { num_heads, head_dim, .. } = spec;
        // q and k end where a tile ends.
        let fits = head_dim == ROTARY_HEAD_DIM
            && (2 * num_heads * head_dim).is_multiple_of(LINEAR_FEATURES);
        fits.then(|| self.fused(LinearStep::Rotary, layer)).flatten()
    }

    fn multiply_gelu(
        &self,
        kernel: LinearKernel,
        x: &CudaActivation,
        layer: &CudaLinear,
        scales: Option<&Piece>,
        out: &CudaActivation,
    ) -> Result<(), CudaError> {
        self.multiply_fused(&Fused { kernel, scales, more: &[] }, x, layer, out)
    }

    /// Leaves with `out` what a LayerNorm needs to know of its rows.
    fn multiply_and_add(
        &self,
        kernel: LinearKernel,
        x: &CudaActivation,
        layer: &CudaLinear,
        out: &mut CudaActivation,
    ) -> Result<(), CudaError> {
        let tiles = out.cols / PANEL_FEATURES;
        let piece = self.arena.take(out.rows * tiles * 8)?;
        // What is added to, which the results replace.
        let before = TensorMap::new(out.address(), out.rows, out.cols, PANEL_ROWS)?;
        let more = [Arg::Map(before), Arg::Pointer(piece.address())];
        let fused = Fused { kernel, scales: None, more: &more };
        self.multiply_fused(&fused, x, layer, out)?;
        out.moments = Some(Moments { piece, tiles });
        Ok(())
    }

    /// `x` comes with what is added to the variance of its rows, if they are to be normalised.
    fn launch_rotary(
        &self,
        kernel: LinearKernel,
        batch: &CudaBatch,
        (x, eps): (&CudaActivation, Option<f32>),
        layer: &CudaLinear,
        spec: RotarySpec,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        self.expect_linear(x, layer, qkv, layer.out_features)?;
        self.expect_rotary(batch, spec, qkv)?;
        self.context.bind()?;
        qkv.moments = None;
        if x.rows == 0 {
            return Ok(());
        }
        let scales = eps.map(|eps| self.row_scales(x, eps)).transpose()?;
        let table = self.rotary_table(spec.head_dim, spec.base, batch.max_seqlen)?;
        let more = [
            Arg::Pointer(batch.position_ids()),
            Arg::Pointer(table.buffer.address()),
            Arg::count(2 * spec.num_heads * spec.head_dim),
        ];
        let fused = Fused { kernel, scales: scales.as_ref(), more: &more };
        Ok(self.multiply_fused(&fused, x, layer, qkv)?)
    }

    /// f32 per row: what is left to do of a LayerNorm that is folded into the layer behind it.
    fn row_scales(&self, x: &CudaActivation, eps: f32) -> Result<Piece, CudaError> {
        let scales = self.arena.take(x.rows * 4)?;
        let (name, family, from, tiles, rows_of_block) = match &x.moments {
            Some(Moments { piece, tiles }) => {
                let tiles = Some(Arg::count(*tiles));
                ("scales_of_tiles", family::SCALES_OF_TILES, piece.address(), tiles, WARP)
            }
            None => ("scales_of_rows", family::SCALES_OF_ROWS, x.address(), None, BLOCK / WARP),
        };
        let mut args = vec![Arg::Pointer(from), Arg::Pointer(scales.address()), Arg::count(x.rows)];
        args.extend(tiles);
        args.extend([Arg::count(x.cols), Arg::Float(eps)]);
        let geometry = Geometry::row(x.rows.div_ceil(rows_of_block), BLOCK);
        self.launch(family, KernelFile::FoldedNorm, name, geometry, &args)?;
        Ok(scales)
    }

    fn multiply_fused(
        &self,
        &Fused { kernel, scales, more }: &Fused<'_>,
        x: &CudaActivation,
        layer: &CudaLinear,
        out: &CudaActivation,
    ) -> Result<(), CudaError> {
        let (rows, m, k) = (x.rows, layer.out_features, layer.in_features);
        let tiles = rows.div_ceil(LINEAR_ROWS * LINEAR_CLUSTER) * (m / LINEAR_FEATURES);
        let resident = self.context.properties.multiprocessors / LINEAR_CLUSTER;
        let geometry = Geometry {
            grid: (tiles.min(resident) * LINEAR_CLUSTER, 1),
            block: 12 * WARP,
            shared_bytes: LinearKernel::SHARED_BYTES,
        };
        let share = LINEAR_FEATURES / LINEAR_CLUSTER;
        let LinearKernel { step, .. } = kernel;
        debug_assert!(scales.is_none() || !step.is_turned(), "turned tiles have no factors");
        // Turned tiles want the boxes of x and weights exchanged, but both have as many rows.
        const { assert!(LINEAR_FEATURES / LINEAR_CLUSTER == LINEAR_ROWS) };
        let mut args = vec![
            Arg::Map(TensorMap::new(x.address(), rows, k, LINEAR_ROWS)?),
            Arg::Map(TensorMap::new(layer.weights.address(), m, k, share)?),
            Arg::Map(TensorMap::new(out.address(), rows, out.cols, PANEL_ROWS)?),
            pointer_or_null(layer.bias.as_ref().map(|bias| bias.address())),
        ];
        if !step.is_turned() {
            args.push(pointer_or_null(scales.map(Piece::address)));
        }
        args.extend([Arg::count(rows), Arg::count(m), Arg::count(k)]);
        args.extend_from_slice(more);
        let file = KernelFile::LinearHopper(kernel);
        self.launch(step.family(), file, step.entry(), geometry, &args)
    }
}
