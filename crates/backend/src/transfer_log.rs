//! Counting what crosses to a device.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The input tensors of a packed batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputTensor {
    /// `input_ids` u32 `[total_tokens]`.
    InputIds,
    /// `cu_seqlens` i32 `[num_seqs + 1]`.
    CuSeqlens,
    /// `position_ids` u32 `[total_tokens]`.
    PositionIds,
}

impl InputTensor {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::InputIds, Self::CuSeqlens, Self::PositionIds];

    /// The tensor's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::InputIds => "input_ids",
            Self::CuSeqlens => "cu_seqlens",
            Self::PositionIds => "position_ids",
        }
    }
}

/// How often each input tensor of one batch was taken across, and how many bytes that was.
///
/// A [`PackedView`](crate::PackedView) with a log counts every look at one of its arrays, so a
/// device has no way to the data that is not counted.
#[derive(Debug, Default)]
pub struct TransferLog {
    crossings: [AtomicU32; 3],
    bytes: AtomicU64,
}

impl TransferLog {
    pub(crate) fn record(&self, tensor: InputTensor, bytes: usize) {
        self.crossings[tensor as usize].fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Number of times `tensor` crossed.
    pub fn crossings(&self, tensor: InputTensor) -> u32 {
        self.crossings[tensor as usize].load(Ordering::Relaxed)
    }

    /// Bytes of all crossings.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
