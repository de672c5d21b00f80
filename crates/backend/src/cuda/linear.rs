//! Linear layers: through cuBLASLt, or with the step behind them in one kernel where there is one.

use super::activation::CudaActivation;
use super::batch::CudaBatch;
use super::gemm::{GemmShape, Operands};
use super::launch::{Arg, Geometry};
use super::operations::{BLOCK, WARP};
use super::profile::family;
use super::source::{
    KernelFile, LINEAR_CLUSTER, LINEAR_FEATURES, LINEAR_ROWS, LinearStep, ROTARY_HEAD_DIM,
};
use super::tensor_map::TensorMap;
use super::weights::CudaLinear;
use super::{CudaBackend, CudaError};
use crate::{Backend, BackendError, Epilogue, RotarySpec};

/// 16-byte vectors that a thread of gelu.cu takes.
const GELU_VECTORS: usize = 4;

/// What a layer with a step behind it is launched with.
struct Fused<'a> {
    file: KernelFile,
    name: &'static str,
    family: &'static str,
    /// Arguments of this step alone.
    more: &'a [Arg],
}

impl CudaBackend {
    pub(super) fn multiply(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        epilogue: Epilogue,
        out: &CudaActivation,
    ) -> Result<(), BackendError> {
        self.expect_linear(x, layer, out)?;
        self.context.bind()?;
        if x.rows == 0 {
            return Ok(());
        }
        if epilogue == Epilogue::Gelu
            && let Some(file) = self.fused(LinearStep::Gelu, layer)
        {
            let fused = Fused { file, name: "linear_gelu", family: family::GEMM_GELU, more: &[] };
            return Ok(self.multiply_fused(&fused, x, layer, out)?);
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

    pub(super) fn multiply_and_rotate(
        &self,
        batch: &CudaBatch,
        x: &CudaActivation,
        layer: &CudaLinear,
        spec: RotarySpec,
        qkv: &mut CudaActivation,
    ) -> Result<(), BackendError> {
        let fused =
            (spec.head_dim == ROTARY_HEAD_DIM).then(|| self.fused(LinearStep::Rotary, layer));
        let rotated = 2 * spec.num_heads * spec.head_dim;
        // q and k end where a tile ends.
        let Some(file) = fused.flatten().filter(|_| rotated.is_multiple_of(LINEAR_FEATURES)) else {
            self.multiply(x, layer, Epilogue::Store, qkv)?;
            return self.rotary(batch, spec, qkv);
        };
        self.expect_linear(x, layer, qkv)?;
        self.expect_rotary(batch, spec, qkv)?;
        self.context.bind()?;
        if x.rows == 0 {
            return Ok(());
        }
        let table = self.rotary_table(spec.head_dim, spec.base, batch.max_seqlen)?;
        let more = [
            Arg::Pointer(batch.position_ids()),
            Arg::Pointer(table.buffer.address()),
            Arg::count(rotated),
        ];
        let (name, family) = ("linear_rotary", family::GEMM_ROTARY);
        Ok(self.multiply_fused(&Fused { file, name, family, more: &more }, x, layer, qkv)?)
    }

    fn expect_linear(
        &self,
        x: &CudaActivation,
        layer: &CudaLinear,
        out: &CudaActivation,
    ) -> Result<(), BackendError> {
        self.expect_elements("linear", x)?;
        self.expect_elements("linear", out)?;
        BackendError::expect("linear", "columns of x", x.cols, layer.in_features)?;
        BackendError::expect("linear", "columns of out", out.cols, layer.out_features)?;
        BackendError::expect("linear", "rows of out", out.rows, x.rows)
    }

    /// The kernel that multiplies and takes this step at once, if there is one for the layer.
    fn fused(&self, step: LinearStep, layer: &CudaLinear) -> Option<KernelFile> {
        let properties = &self.context.properties;
        let (m, k) = (layer.out_features, layer.in_features);
        let file = KernelFile::linear(step, self.precision, properties.capability, m, k)?;
        let fits = file.dynamic_shared_bytes(self.precision) <= properties.shared_bytes_per_block;
        (fits && layer.bias.is_some() && self.is_fusing()).then_some(file)
    }

    fn multiply_fused(
        &self,
        &Fused { file, name, family, more }: &Fused<'_>,
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
            shared_bytes: file.dynamic_shared_bytes(self.precision),
        };
        let share = LINEAR_FEATURES / LINEAR_CLUSTER;
        let mut args = vec![
            Arg::Map(TensorMap::new(x.address(), rows, k, LINEAR_ROWS)?),
            Arg::Map(TensorMap::new(layer.weights.address(), m, k, share)?),
            Arg::Map(TensorMap::new(out.address(), rows, m, 16)?),
            Arg::Pointer(layer.bias.as_ref().map_or(0, |bias| bias.address())),
            Arg::count(rows),
            Arg::count(m),
            Arg::count(k),
        ];
        args.extend_from_slice(more);
        self.launch(family, file, name, geometry, &args)
    }
}
