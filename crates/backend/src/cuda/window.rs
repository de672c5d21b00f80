//! Pinned memory of a fixed size, through which results of any size come to the host.

use std::sync::Arc;

use super::CudaError;
use super::context::Context;
use super::memory::{PinnedBuffer, PinnedUse};
use super::stream::{Event, Stream};

/// Bytes of either half. The results of a usual batch take one or two.
const HALF: usize = 1 << 20;

/// Two halves of pinned memory that take turns: the host empties one while a copy fills the other.
///
/// It never grows, because the driver gives and takes pinned memory only when the device has
/// nothing to do.
#[derive(Debug)]
pub(super) struct Window {
    halves: [PinnedBuffer; 2],
    filled: [Event; 2],
    started: Event,
    /// Which half was filled last.
    last: usize,
}

/// A piece of one of several blocks that fits a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    block: usize,
    address: u64,
    bytes: usize,
}

/// Every byte of `blocks` (address and bytes) once, in order.
fn pieces(blocks: &[(u64, usize)]) -> Vec<Piece> {
    let of_block = |(block, &(start, size)): (usize, &(u64, usize))| {
        (0..size).step_by(HALF).map(move |at| {
            let (address, bytes) = (start + at as u64, HALF.min(size - at));
            Piece { block, address, bytes }
        })
    };
    blocks.iter().enumerate().flat_map(of_block).collect()
}

impl Window {
    pub(super) fn new(context: &Arc<Context>) -> Result<Self, CudaError> {
        let half = || PinnedBuffer::new(context, HALF, PinnedUse::Read);
        let event = || Event::new(context);
        Ok(Self {
            halves: [half()?, half()?],
            filled: [event()?, event()?],
            started: event()?,
            last: 0,
        })
    }

    /// Hands every byte of `blocks` to `take`, piece by piece in order, each with the number of its
    /// block; returns when the last is taken.
    ///
    /// # Safety
    /// Each block is an address of the device and as many bytes there, which stay as they are once
    /// what is queued on `stream` is done, until this returns.
    pub(super) unsafe fn bring(
        &mut self,
        stream: &Stream,
        blocks: &[(u64, usize)],
        mut take: impl FnMut(usize, &[u8]),
    ) -> Result<(), CudaError> {
        let pieces = pieces(blocks);
        self.started.record(stream)?;
        self.filled[self.last].record(stream)?;
        let mut queued = 0;
        for (number, piece) in pieces.iter().enumerate() {
            for next in &pieces[queued..pieces.len().min(number + 2)] {
                let half = queued % 2;
                let to = &mut self.halves[half].bytes_mut()[..next.bytes];
                // SAFETY: the caller's promise for the device's side; nobody looks at the half
                // before its event, and what it held before has been taken.
                unsafe { stream.copy_dtoh(to, next.address) }?;
                self.filled[half].record(stream)?;
                self.last = half;
                queued += 1;
            }
            self.filled[number % 2].synchronize()?;
            take(piece.block, &self.halves[number % 2].bytes()[..piece.bytes]);
        }
        Ok(())
    }

    /// Marks around the copies of the last [`Self::bring`].
    pub(super) fn marks(&self) -> (&Event, &Event) {
        (&self.started, &self.filled[self.last])
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // After a failure a copy may still write here. Another one means that the device is gone.
        let _ = self.filled[self.last].synchronize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_every_byte_of_every_block_in_order_and_fit_a_half() {
        let blocks = [(1 << 40, 2 * HALF + 12), (64, 0), (128, HALF), (1 << 30, 4)];
        let found = pieces(&blocks);
        assert!(found.iter().all(|piece| (1..=HALF).contains(&piece.bytes)));
        let of_blocks: Vec<_> = found.iter().map(|piece| piece.block).collect();
        assert_eq!(of_blocks, [0, 0, 0, 2, 3]);
        for (block, &(start, size)) in blocks.iter().enumerate() {
            let mut end = start;
            for piece in found.iter().filter(|piece| piece.block == block) {
                assert_eq!(piece.address, end);
                end += piece.bytes as u64;
            }
            assert_eq!(end - start, size as u64);
        }
    }
}
