//! The kernel files and what they are compiled with.

use std::ops::RangeInclusive;

use super::CudaError;
use super::linear_kernel::{LinearKernel, has_linear};
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
    /// The same for heads of [`RESIDENT_HEAD_DIM`] and sequences of [`RESIDENT_SEQLENS`] tokens.
    AttentionResident,
    /// A linear layer and the step behind it on Hopper's warpgroup instructions.
    LinearHopper(LinearKernel),
}

const ELEMENT: &str = include_str!("kernels/element.cu");
const STORED_PARTS: &str = include_str!("kernels/stored_parts.cu");
pub(super) const GELU_PARTS: &str = include_str!("kernels/gelu_parts.cu");
const ATTENTION_PARTS: &str = include_str!("kernels/attention_parts.cu");
pub(super) const WGMMA_PARTS: &str = include_str!("kernels/wgmma_parts.cu");
pub(super) const COPY_ENGINE_PARTS: &str = include_str!("kernels/copy_engine_parts.cu");
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
            files.extend(LinearKernel::USUAL.map(Self::LinearHopper));
        }
        files
    }

    /// Everything that may be needed on a chip.
    pub(super) fn all(precision: Precision, capability: (u32, u32)) -> Vec<Self> {
        let mut files = Self::PLAIN.to_vec();
        files.extend(HEAD_DIMS.map(|head_dim| Self::attention(precision, capability, head_dim)));
        if has_linear(precision, capability) {
            files.extend([Self::AttentionResident, Self::FoldedNorm]);
            files.extend(LinearKernel::all().map(Self::LinearHopper));
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

    /// The attention that takes sequences of [`RESIDENT_SEQLENS`] tokens from this one, where one does.
    /// A sequence's own length decides, because either has bits of its own.
    pub(super) fn resident(self) -> Option<Self> {
        let has_one = self == Self::AttentionHopper { head_dim: RESIDENT_HEAD_DIM };
        has_one.then_some(Self::AttentionResident)
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
            Self::LinearHopper(kernel) => kernel.step.file_name(),
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
                &[WGMMA_PARTS, ATTENTION_PARTS, ATTENTION_HOPPER_PARTS, entry]
            }
            Self::AttentionResident => {
                let entry = include_str!("kernels/attention_resident_wgmma.cu");
                &[WGMMA_PARTS, COPY_ENGINE_PARTS, ATTENTION_PARTS, ATTENTION_HOPPER_PARTS, entry]
            }
            Self::LinearHopper(kernel) => &kernel.step.text(),
        };
        std::iter::once(&ELEMENT).chain(parts).copied().collect()
    }

    /// Options of the compiler for a chip such as `sm_80`.
    pub(super) fn options(self, precision: Precision, arch: &str) -> Vec<String> {
        // Warpgroup instructions need the target that promises this chip alone.
        let is_hopper = matches!(
            self,
            Self::AttentionHopper { .. } | Self::AttentionResident | Self::LinearHopper(_)
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
        if let Self::LinearHopper(kernel) = self {
            options.push(format!("-DPARTS={}", kernel.parts));
            options.push(format!("-DWHOLE_ROUNDS={}", u8::from(kernel.whole_rounds)));
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
                (ATTENTION_TILE + 2 * RESIDENT_SEQLENS.end()) * RESIDENT_HEAD_DIM * 2
            }
            Self::LinearHopper(_) => LinearKernel::SHARED_BYTES,
            _ => 0,
        }
    }
}

/// Width of heads whose keys and values a block keeps.
const RESIDENT_HEAD_DIM: usize = 64;

/// Tokens of a sequence whose keys and values a block keeps. Shorter ones have a single tile of
/// queries, to which all keys come once anyway; `MOST_GROUPS` of the kernel ends it.
pub(super) const RESIDENT_SEQLENS: RangeInclusive<usize> = ATTENTION_TILE + 1..=11 * KEY_GROUP;

/// Query rows that a block of any attention kernel takes at once.
pub(super) const ATTENTION_TILE: usize = 64;

/// Keys that matrix units take at once.
pub(super) const KEY_GROUP: usize = 16;

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
    fn attention_keeps_keys_of_whole_sequences_on_hopper_for_heads_of_64() {
        let hopper = KernelFile::attention(Precision::F16, (9, 0), 64);
        assert_eq!(hopper.resident(), Some(KernelFile::AttentionResident));
        for (precision, capability, head_dim) in [
            (Precision::F16, (9, 0), 128),
            (Precision::F32, (9, 0), 64),
            (Precision::F16, (8, 0), 64),
        ] {
            let file = KernelFile::attention(precision, capability, head_dim);
            assert_eq!(file.resident(), None);
        }
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
