//! The kernel files and what they are compiled with.

use super::CudaError;
use crate::Precision;

/// A kernel file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum KernelFile {
    Embed,
    LayerNorm,
    Rotary,
    Gelu,
    Pool,
    Convert,
    /// LayerNorm as a part of the linear layer behind it.
    FoldedNorm,
    /// Attention on the warp-wide matrix instructions, or plain f32.
    Attention {
        head_dim: usize,
    },
    /// Attention on Hopper's warpgroup instructions.
    AttentionHopper {
        head_dim: usize,
    },
    /// The same for heads of [`RESIDENT_HEAD_DIM`] and sequences of at most
    /// [`RESIDENT_SEQLEN`] tokens.
    AttentionResident,
    /// A linear layer and the step behind it on Hopper's warpgroup instructions.
    LinearHopper {
        step: LinearStep,
        /// Pieces in which a tile is finished while the next one is multiplied.
        parts: usize,
    },
}

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

impl LinearStep {
    pub(super) const ALL: [Self; 4] = [Self::Gelu, Self::Gated, Self::Rotary, Self::Residual];
}

const ELEMENT: &str = include_str!("kernels/element.cu");
const STORED_PARTS: &str = include_str!("kernels/stored_parts.cu");
const GELU_PARTS: &str = include_str!("kernels/gelu_parts.cu");
const LINEAR_PARTS: &str = include_str!("kernels/linear_parts_wgmma.cu");
const ATTENTION_PARTS: &str = include_str!("kernels/attention_parts.cu");
const ATTENTION_HOPPER_PARTS: &str = include_str!("kernels/attention_parts_wgmma.cu");

/// Head widths that attention is tested for.
///
/// The kernels take any multiple of 8 up to 128; these are the ones proven by
/// `bench/kernel_lab/check.py` and `selftest`.
pub const HEAD_DIMS: [usize; 6] = [16, 24, 32, 64, 80, 128];

impl KernelFile {
    /// Those that every model needs.
    pub(super) const PLAIN: [Self; 6] =
        [Self::Embed, Self::LayerNorm, Self::Rotary, Self::Gelu, Self::Pool, Self::Convert];

    /// What ESM-2 from 650M on and DNABERT-S need on a chip.
    pub(super) fn usual(precision: Precision, capability: (u32, u32)) -> Vec<Self> {
        let mut files = Self::PLAIN.to_vec();
        files.push(Self::attention(precision, capability, 64));
        if has_linear(precision, capability) {
            files.extend([Self::AttentionResident, Self::FoldedNorm]);
            use LinearStep::{Gated, Gelu, Residual, Rotary};
            let steps = [(Gelu, 16), (Rotary, 16), (Residual, 16), (Residual, 8), (Gated, 8)];
            files.extend(steps.map(|(step, parts)| Self::LinearHopper { step, parts }));
        }
        files
    }

    /// Everything that may be needed on a chip.
    pub(super) fn all(precision: Precision, capability: (u32, u32)) -> Vec<Self> {
        let mut files = Self::PLAIN.to_vec();
        files.extend(HEAD_DIMS.map(|head_dim| Self::attention(precision, capability, head_dim)));
        if has_linear(precision, capability) {
            files.extend([Self::AttentionResident, Self::FoldedNorm]);
            for step in LinearStep::ALL {
                files.extend(PARTS.map(|parts| Self::LinearHopper { step, parts }));
            }
        }
        files
    }

    /// The attention that suits a chip.
    pub(super) fn attention(precision: Precision, capability: (u32, u32), head_dim: usize) -> Self {
        let is_hopper = capability == (9, 0);
        if is_hopper && precision != Precision::F32 && matches!(head_dim, 64 | 128) {
            Self::AttentionHopper { head_dim }
        } else {
            Self::Attention { head_dim }
        }
    }

    /// The attention for a batch whose longest sequence has `max_seqlen` tokens.
    pub(super) fn for_seqlens(self, max_seqlen: usize) -> Self {
        let fits = self == Self::AttentionHopper { head_dim: RESIDENT_HEAD_DIM }
            // Shorter ones have a single tile of queries, to which all keys come once anyway.
            && max_seqlen > ATTENTION_TILE
            && max_seqlen <= RESIDENT_SEQLEN;
        if fits { Self::AttentionResident } else { self }
    }

    /// A linear layer and the step behind it in one kernel, where a chip and a layer have one.
    pub(super) fn linear(
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
        fits.then_some(Self::LinearHopper { step, parts })
    }

    pub(super) fn name(self, precision: Precision) -> &'static str {
        match self {
            Self::Embed => "embed",
            Self::LayerNorm => "layer_norm",
            Self::Rotary => "rotary",
            Self::Gelu => "gelu",
            Self::Pool => "pool",
            Self::Convert => "convert",
            Self::FoldedNorm => "folded_norm",
            Self::Attention { .. } if precision == Precision::F32 => "attention_f32",
            Self::Attention { .. } => "attention",
            Self::AttentionHopper { .. } => "attention_wgmma",
            Self::AttentionResident => "attention_resident_wgmma",
            Self::LinearHopper { step: LinearStep::Gelu, .. } => "linear_gelu_wgmma",
            Self::LinearHopper { step: LinearStep::Gated, .. } => "linear_gated_wgmma",
            Self::LinearHopper { step: LinearStep::Rotary, .. } => "linear_rotary_wgmma",
            Self::LinearHopper { step: LinearStep::Residual, .. } => "linear_residual_wgmma",
        }
    }

    /// The whole text that the compiler gets.
    pub(super) fn text(self, precision: Precision) -> String {
        let parts: &[&str] = match self {
            Self::Embed => &[include_str!("kernels/embed.cu")],
            Self::LayerNorm => &[include_str!("kernels/layer_norm.cu")],
            Self::Rotary => &[include_str!("kernels/rotary.cu")],
            Self::Gelu => &[GELU_PARTS, include_str!("kernels/gelu.cu")],
            Self::Pool => &[include_str!("kernels/pool.cu")],
            Self::Convert => &[STORED_PARTS, include_str!("kernels/convert.cu")],
            Self::FoldedNorm => &[STORED_PARTS, include_str!("kernels/folded_norm.cu")],
            Self::Attention { .. } if precision == Precision::F32 => {
                &[include_str!("kernels/attention_f32.cu")]
            }
            Self::Attention { .. } => &[ATTENTION_PARTS, include_str!("kernels/attention.cu")],
            Self::AttentionHopper { .. } => {
                let entry = include_str!("kernels/attention_wgmma.cu");
                &[ATTENTION_PARTS, ATTENTION_HOPPER_PARTS, entry]
            }
            Self::AttentionResident => {
                let entry = include_str!("kernels/attention_resident_wgmma.cu");
                &[ATTENTION_PARTS, ATTENTION_HOPPER_PARTS, entry]
            }
            Self::LinearHopper { step: LinearStep::Gelu, .. } => {
                &[LINEAR_PARTS, GELU_PARTS, include_str!("kernels/linear_gelu_wgmma.cu")]
            }
            Self::LinearHopper { step: LinearStep::Gated, .. } => {
                &[LINEAR_PARTS, GELU_PARTS, include_str!("kernels/linear_gated_wgmma.cu")]
            }
            Self::LinearHopper { step: LinearStep::Rotary, .. } => {
                &[LINEAR_PARTS, include_str!("kernels/linear_rotary_wgmma.cu")]
            }
            Self::LinearHopper { step: LinearStep::Residual, .. } => {
                &[LINEAR_PARTS, include_str!("kernels/linear_residual_wgmma.cu")]
            }
        };
        std::iter::once(&ELEMENT).chain(parts).copied().collect()
    }

    /// Options of the compiler for a chip such as `sm_80`.
    pub(super) fn options(self, precision: Precision, arch: &str) -> Vec<String> {
        // Warpgroup instructions need the target that promises this chip alone.
        let is_hopper = matches!(
            self,
            Self::AttentionHopper { .. } | Self::AttentionResident | Self::LinearHopper { .. }
        );
        let feature = if is_hopper { "a" } else { "" };
        let mut options = vec![
            format!("--gpu-architecture={arch}{feature}"),
            "--std=c++17".to_owned(),
            format!("-DELEMENT_{}", precision.name().to_uppercase()),
        ];
        let head_dim = match self {
            Self::Attention { head_dim } | Self::AttentionHopper { head_dim } => Some(head_dim),
            Self::AttentionResident => Some(RESIDENT_HEAD_DIM),
            _ => None,
        };
        options.extend(head_dim.map(|head_dim| format!("-DHEAD_DIM={head_dim}")));
        if let Self::LinearHopper { parts, .. } = self {
            options.push(format!("-DPARTS={parts}"));
        }
        options
    }

    /// Bytes of dynamic shared memory that a kernel of this file is launched with.
    pub(super) fn dynamic_shared_bytes(self, precision: Precision) -> usize {
        match self {
            Self::Attention { .. } if precision == Precision::F32 => 0,
            Self::Attention { head_dim } => {
                let key_block = if head_dim > 80 { 32 } else { 64 };
                (ATTENTION_TILE + 4 * key_block) * (head_dim.next_multiple_of(16) + 8) * 2
            }
            Self::AttentionHopper { head_dim } => (ATTENTION_TILE + 4 * 64) * head_dim * 2,
            // A tile of queries, all keys and all values.
            Self::AttentionResident => {
                (ATTENTION_TILE + 2 * RESIDENT_SEQLEN) * RESIDENT_HEAD_DIM * 2
            }
            // Four stages of x and weights, a panel for each of eight warps, and the barriers.
            Self::LinearHopper { .. } => 4 * 49_152 + 16_384 + 4 * 16,
            _ => 0,
        }
    }
}

/// Depth of a step, features and rows of a tile, and blocks of a cluster of `linear_parts_wgmma.cu`.
pub(super) const LINEAR_DEPTH: usize = 64;
pub(super) const LINEAR_FEATURES: usize = 256;
pub(super) const LINEAR_ROWS: usize = 128;
pub(super) const LINEAR_CLUSTER: usize = 2;

/// Pieces in which a tile may be finished. Layers with fewer steps than these are those of small
/// models, which are not worth the time that kernels of their own take to compile.
const PARTS: [usize; 3] = [4, 8, 16];

/// Whether a chip has linear layers with a step behind them.
fn has_linear(precision: Precision, capability: (u32, u32)) -> bool {
    capability == (9, 0) && precision != Precision::F32
}

/// Width of the heads that a linear layer rotates.
pub(super) const ROTARY_HEAD_DIM: usize = 64;

/// Width of heads, and tokens of a sequence, whose keys and values a block keeps.
const RESIDENT_HEAD_DIM: usize = 64;
const RESIDENT_SEQLEN: usize = 192;

/// Query rows that a block of any attention kernel takes at once.
pub(super) const ATTENTION_TILE: usize = 64;

/// Refuses a precision that a chip cannot compute in.
pub(super) fn check_precision(
    precision: Precision,
    capability: (u32, u32),
    device: &str,
) -> Result<(), CudaError> {
    let (what, least, needed) = match precision {
        Precision::F32 => ("f32", (7, 5), "7.5 (Turing)"),
        Precision::F16 => ("f16", (7, 5), "7.5 (Turing)"),
        Precision::Bf16 => ("bf16", (8, 0), "8.0 (Ampere)"),
    };
    if capability >= least {
        return Ok(());
    }
    let (device, (major, minor)) = (device.to_owned(), capability);
    Err(CudaError::Capability { device, major, minor, what, needed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_hopper_instructions_are_for_hopper_halves_and_its_head_widths_alone() {
        let is_hopper = |precision, capability, head_dim| {
            let file = KernelFile::attention(precision, capability, head_dim);
            matches!(file, KernelFile::AttentionHopper { .. })
        };
        assert!(is_hopper(Precision::F16, (9, 0), 64) && is_hopper(Precision::Bf16, (9, 0), 128));
        assert!(!is_hopper(Precision::F32, (9, 0), 64));
        assert!(!is_hopper(Precision::F16, (9, 0), 80));
        for other in [(7, 5), (8, 0), (8, 9), (10, 0), (12, 0)] {
            assert!(!is_hopper(Precision::F16, other, 64));
        }
    }

    #[test]
    fn attention_keeps_keys_of_whole_sequences_where_they_fit_and_are_read_twice() {
        let hopper = KernelFile::attention(Precision::F16, (9, 0), 64);
        let kept = |seqlen| hopper.for_seqlens(seqlen) == KernelFile::AttentionResident;
        assert!(kept(65) && kept(192));
        assert!(!kept(64) && !kept(193));
        for (precision, capability, head_dim) in [
            (Precision::F16, (9, 0), 128),
            (Precision::F32, (9, 0), 64),
            (Precision::F16, (8, 0), 64),
        ] {
            let file = KernelFile::attention(precision, capability, head_dim);
            assert_eq!(file.for_seqlens(168), file);
        }
    }

    #[test]
    fn linear_has_no_more_pieces_than_steps() {
        let parts = |precision, capability, m, k| {
            let file = KernelFile::linear(LinearStep::Gelu, precision, capability, m, k);
            match file {
                Some(KernelFile::LinearHopper { parts, .. }) => parts,
                _ => 0,
            }
        };
        assert_eq!(parts(Precision::F16, (9, 0), 10_240, 2560), 16);
        assert_eq!(parts(Precision::Bf16, (9, 0), 1280, 320), 4);
        assert_eq!(parts(Precision::F16, (9, 0), 256, 960), 8);
        assert_eq!(parts(Precision::F16, (9, 0), 256, 256), 4);
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
        let hopper = (9, 0);
        let mut wanted = Vec::new();
        let mut want = |step, outputs, inputs| {
            wanted.extend(KernelFile::linear(step, Precision::F16, hopper, outputs, inputs));
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
        let usual = KernelFile::usual(Precision::F16, hopper);
        let linear: Vec<_> =
            usual.iter().filter(|file| matches!(file, KernelFile::LinearHopper { .. })).collect();
        assert!(wanted.iter().all(|file| linear.contains(&file)));
        assert!(linear.iter().all(|file| wanted.contains(file)));
    }

    #[test]
    fn check_precision_turing_has_f16_but_no_bf16() {
        assert!(check_precision(Precision::F16, (7, 5), "T4").is_ok());
        assert!(check_precision(Precision::Bf16, (8, 0), "A100").is_ok());
        let error = check_precision(Precision::Bf16, (7, 5), "T4").unwrap_err().to_string();
        assert_eq!(error, "T4 has compute capability 7.5; bf16 needs 8.0 (Ampere)");
        assert!(check_precision(Precision::F16, (7, 0), "V100").is_err());
    }
}
