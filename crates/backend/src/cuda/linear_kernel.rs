//! The kernels that take a linear layer together with what stands around it, for Hopper.

use super::profile::family;
use super::source::{COPY_ENGINE_PARTS, GELU_PARTS, WGMMA_PARTS};
use crate::Precision;

/// What follows a linear layer in the same kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum LinearStep {
    /// Exact GELU.
    Gelu,
    /// Gated GELU, whose results are half as many.
    Gated,
    /// Rotary position embedding of q and k, in heads of [`ROTARY_HEAD_DIM`].
    Rotary,
    /// The residual addition, and what a LayerNorm behind it needs to know of each row.
    Residual,
}

const PARTS_TEXT: &str = include_str!("kernels/linear_parts_wgmma.cu");

impl LinearStep {
    const ALL: [Self; 4] = [Self::Gelu, Self::Gated, Self::Rotary, Self::Residual];

    pub(super) fn file_name(self) -> &'static str {
        match self {
            Self::Gelu => "linear_gelu_wgmma",
            Self::Gated => "linear_gated_wgmma",
            Self::Rotary => "linear_rotary_wgmma",
            Self::Residual => "linear_residual_wgmma",
        }
    }

    /// Name of the kernel in its file.
    pub(super) fn entry(self) -> &'static str {
        match self {
            Self::Gelu => "linear_gelu",
            Self::Gated => "linear_gated",
            Self::Rotary => "linear_rotary",
            Self::Residual => "linear_residual",
        }
    }

    /// Where its time is counted.
    pub(super) fn family(self) -> &'static str {
        match self {
            Self::Gelu => family::GEMM_GELU,
            Self::Gated => family::GEMM_GATED,
            Self::Rotary => family::GEMM_ROTARY,
            Self::Residual => family::GEMM_RESIDUAL,
        }
    }

    /// Whether its tiles are turned, and rows have no factors.
    pub(super) fn is_turned(self) -> bool {
        self == Self::Residual
    }

    /// What the compiler gets behind `element.cu`.
    pub(super) fn text(self) -> Vec<&'static str> {
        let mut text = vec![WGMMA_PARTS, COPY_ENGINE_PARTS, PARTS_TEXT];
        text.extend(match self {
            Self::Gelu => [GELU_PARTS, include_str!("kernels/linear_gelu_wgmma.cu")].as_slice(),
            Self::Gated => &[GELU_PARTS, include_str!("kernels/linear_gated_wgmma.cu")],
            Self::Rotary => &[include_str!("kernels/linear_rotary_wgmma.cu")],
            Self::Residual => &[include_str!("kernels/linear_residual_wgmma.cu")],
        });
        text
    }
}

/// A linear layer and the step behind it in one kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LinearKernel {
    pub(super) step: LinearStep,
    /// Pieces in which a tile is finished while the next one is multiplied.
    pub(super) parts: usize,
    /// Whether the steps of a tile are rounds of the ring of stages.
    pub(super) whole_rounds: bool,
}

/// Depth of a step, features and rows of a tile (rows and features of a turned one), and blocks
/// of a cluster of `linear_parts_wgmma.cu`.
pub(super) const LINEAR_DEPTH: usize = 64;
pub(super) const LINEAR_FEATURES: usize = 256;
pub(super) const LINEAR_ROWS: usize = 128;
pub(super) const LINEAR_CLUSTER: usize = 2;
/// Steps that are in shared memory at once.
const STAGES: usize = 4;
/// Rows and features of a panel of results.
pub(super) const PANEL_ROWS: usize = 16;
pub(super) const PANEL_FEATURES: usize = 64;

/// Width of the heads that a linear layer rotates.
pub(super) const ROTARY_HEAD_DIM: usize = 64;

/// Pieces in which a tile may be finished. Layers with fewer steps than these are those of small
/// models, which are not worth the time that kernels of their own take to compile.
const PARTS: [usize; 3] = [4, 8, 16];

impl LinearKernel {
    /// Those of ESM-2 from 650M on and of DNABERT-S.
    pub(super) const USUAL: [Self; 5] = [
        Self { step: LinearStep::Gelu, parts: 16, whole_rounds: true },
        Self { step: LinearStep::Rotary, parts: 16, whole_rounds: true },
        Self { step: LinearStep::Residual, parts: 16, whole_rounds: true },
        Self { step: LinearStep::Residual, parts: 8, whole_rounds: true },
        Self { step: LinearStep::Gated, parts: 8, whole_rounds: true },
    ];

    /// Bytes of dynamic shared memory: four stages of x and weights, two panels for each of eight
    /// warps, and the barriers of both.
    pub(super) const SHARED_BYTES: usize = STAGES * (49_152 + 16) + 32_768 + 128;

    /// The kernel for a layer, where a chip and a layer have one.
    pub(super) fn new(
        step: LinearStep,
        precision: Precision,
        capability: (u32, u32),
        out_features: usize,
        in_features: usize,
    ) -> Option<Self> {
        let steps = in_features / LINEAR_DEPTH;
        let fits = has_linear(precision, capability)
            && steps >= PARTS[0]
            && in_features.is_multiple_of(LINEAR_DEPTH)
            && out_features.is_multiple_of(LINEAR_FEATURES);
        // No more pieces than there are steps.
        let parts = PARTS.into_iter().rfind(|&parts| parts <= steps)?;
        fits.then_some(Self { step, parts, whole_rounds: steps.is_multiple_of(STAGES) })
    }

    /// Every kernel there is.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        LinearStep::ALL.into_iter().flat_map(|step| {
            PARTS.into_iter().flat_map(move |parts| {
                [false, true].map(|whole_rounds| Self { step, parts, whole_rounds })
            })
        })
    }
}

/// Whether a chip has linear layers with a step behind them.
pub(super) fn has_linear(precision: Precision, capability: (u32, u32)) -> bool {
    capability == (9, 0) && precision != Precision::F32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_has_no_more_pieces_than_steps() {
        let parts = |precision, capability, m, k| {
            let kernel = LinearKernel::new(LinearStep::Gelu, precision, capability, m, k);
            kernel.map_or(0, |kernel| kernel.parts)
        };
        assert_eq!(parts(Precision::F16, (9, 0), 10_240, 2560), 16);
        assert_eq!(parts(Precision::Bf16, (9, 0), 1280, 320), 4);
        assert_eq!(parts(Precision::F16, (9, 0), 256, 960), 8);
        assert_eq!(parts(Precision::F16, (9, 0), 256, 256), 4);
        let whole_rounds = |k| {
            LinearKernel::new(LinearStep::Gelu, Precision::F16, (9, 0), 256, k)
                .is_some_and(|kernel| kernel.whole_rounds)
        };
        assert!(whole_rounds(256) && whole_rounds(768) && !whole_rounds(640));
        for other in [
            parts(Precision::F32, (9, 0), 256, 256),
            parts(Precision::F16, (8, 0), 256, 256),
            parts(Precision::F16, (9, 0), 128, 256),
            parts(Precision::F16, (9, 0), 256, 288),
            parts(Precision::F16, (9, 0), 256, 192),
            parts(Precision::F16, (9, 0), 256, 0),
        ] {
            assert_eq!(other, 0);
        }
    }

    #[test]
    fn usual_holds_every_linear_kernel_of_the_published_models_and_no_other() {
        use LinearStep::{Gated, Gelu, Residual, Rotary};
        let mut wanted = Vec::new();
        let mut want = |step, outputs, inputs| {
            wanted.extend(LinearKernel::new(step, Precision::F16, (9, 0), outputs, inputs));
        };
        for hidden in [1280, 2560] {
            want(Rotary, 3 * hidden, hidden);
            want(Residual, hidden, hidden);
            want(Gelu, 4 * hidden, hidden);
            want(Residual, hidden, 4 * hidden);
        }
        want(Residual, 768, 768);
        want(Gated, 2 * 3072, 768);
        want(Residual, 768, 3072);
        let usual = LinearKernel::USUAL;
        assert!(wanted.iter().all(|kernel| usual.contains(kernel)));
        assert!(usual.iter().all(|kernel| wanted.contains(kernel)));
    }
}
