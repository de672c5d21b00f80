//! The arrays of a packed batch on the device: one block, brought over by one copy.

use std::cmp::Reverse;
use std::sync::Arc;

use super::CudaError;
use super::context::Context;
use super::memory::{DeviceBuffer, PinnedBuffer, PinnedUse};
use super::source::{ATTENTION_TILE, RESIDENT_SEQLENS};
use super::stream::{Event, Stream};
use crate::PackedView;

/// Alignment of every array inside the block.
const ALIGNMENT: usize = 256;

/// The integer arrays of one packed batch, on the device.
///
/// # Shape
/// As [`PackedView`], and the pieces of attention, those of the longest sequences first: `tiles` i32
/// `[num_tiles, 2]`, sequence and first query row of each; `streamed` i32 `[_, 2]`, the same of the
/// sequences that are too short or too long for a block to keep; and `resident` i32 `[_, 2]`, first token
/// and length of the others.
#[derive(Debug)]
pub struct CudaBatch {
    block: Arc<DeviceBuffer>,
    layout: Layout,
    /// The largest token id and where it stands, to be held against the embedding table.
    pub(super) largest_id: (u32, usize),
    pub(super) max_seqlen: usize,
}

/// Where each array begins in the block, in bytes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    tokens: usize,
    sequences: usize,
    pieces: PieceCounts,
    cu_seqlens: usize,
    position_ids: usize,
    tiles: usize,
    streamed: usize,
    resident: usize,
    bytes: usize,
}

/// How many pieces of attention there are of each kind.
#[derive(Clone, Copy, Debug)]
struct PieceCounts {
    tiles: usize,
    streamed: usize,
    resident: usize,
}

impl Layout {
    fn new(tokens: usize, sequences: usize, pieces: PieceCounts) -> Self {
        let mut end = tokens * 4;
        let mut place = |bytes: usize| {
            let start = end.next_multiple_of(ALIGNMENT);
            end = start + bytes;
            start
        };
        let cu_seqlens = place((sequences + 1) * 4);
        let position_ids = place(tokens * 4);
        let tiles = place(pieces.tiles * 8);
        let streamed = place(pieces.streamed * 8);
        let resident = place(pieces.resident * 8);
        let bytes = end;
        Self {
            tokens,
            sequences,
            pieces,
            cu_seqlens,
            position_ids,
            tiles,
            streamed,
            resident,
            bytes,
        }
    }
}

impl CudaBatch {
    pub(super) fn total_tokens(&self) -> usize {
        self.layout.tokens
    }

    pub(super) fn num_seqs(&self) -> usize {
        self.layout.sequences
    }

    pub(super) fn input_ids(&self) -> u64 {
        self.block.address()
    }

    pub(super) fn cu_seqlens(&self) -> u64 {
        self.block.address() + self.layout.cu_seqlens as u64
    }

    pub(super) fn position_ids(&self) -> u64 {
        self.block.address() + self.layout.position_ids as u64
    }

    /// All tiles: where they are, and how many.
    pub(super) fn tiles(&self) -> (u64, usize) {
        (self.block.address() + self.layout.tiles as u64, self.layout.pieces.tiles)
    }

    /// Tiles of the sequences of other than resident lengths.
    pub(super) fn streamed(&self) -> (u64, usize) {
        (self.block.address() + self.layout.streamed as u64, self.layout.pieces.streamed)
    }

    /// The sequences of resident lengths.
    pub(super) fn resident(&self) -> (u64, usize) {
        (self.block.address() + self.layout.resident as u64, self.layout.pieces.resident)
    }
}

/// Staging of batches, used again and again: a pinned block, its twin on the device, and marks
/// around the copy.
#[derive(Debug)]
pub(super) struct Staging {
    context: Arc<Context>,
    pinned: PinnedBuffer,
    block: Arc<DeviceBuffer>,
    pub(super) started: Event,
    pub(super) ready: Event,
}

impl Staging {
    /// Staging that begins with room for `tokens` tokens and grows where a batch is larger.
    pub(super) fn new(context: &Arc<Context>, tokens: usize) -> Result<Self, CudaError> {
        let pieces = PieceCounts { tiles: tokens, streamed: tokens, resident: tokens };
        let bytes = Layout::new(tokens, tokens, pieces).bytes;
        Ok(Self {
            context: Arc::clone(context),
            pinned: PinnedBuffer::new(context, bytes, PinnedUse::Write)?,
            block: Arc::new(DeviceBuffer::new(context, bytes)?),
            started: Event::new(context)?,
            ready: Event::new(context)?,
        })
    }

    /// Queues the copy of a batch on `stream`; nobody may use this staging's last batch any more.
    pub(super) fn stage(
        &mut self,
        stream: &Stream,
        view: PackedView<'_>,
    ) -> Result<CudaBatch, CudaError> {
        self.context.bind()?;
        // The pinned block may still be read by the last copy.
        self.ready.synchronize()?;
        let input_ids = view.input_ids();
        let cu_seqlens = view.cu_seqlens();
        let Pieces { tiles, streamed, resident } = Pieces::new(cu_seqlens);
        let pieces =
            PieceCounts { tiles: tiles.len(), streamed: streamed.len(), resident: resident.len() };
        let layout = Layout::new(input_ids.len(), cu_seqlens.len() - 1, pieces);
        if layout.bytes > self.block.bytes() {
            self.pinned = PinnedBuffer::new(&self.context, layout.bytes, PinnedUse::Write)?;
            self.block = Arc::new(DeviceBuffer::new(&self.context, layout.bytes)?);
        }
        let pinned = &mut self.pinned.bytes_mut()[..layout.bytes];
        write(pinned, 0, input_ids.iter().map(|id| id.to_ne_bytes()));
        write(pinned, layout.cu_seqlens, cu_seqlens.iter().map(|at| at.to_ne_bytes()));
        write(pinned, layout.position_ids, view.position_ids().iter().map(|p| p.to_ne_bytes()));
        for (start, pieces) in
            [(layout.tiles, tiles), (layout.streamed, streamed), (layout.resident, resident)]
        {
            write(pinned, start, pieces.iter().flatten().map(|word| word.to_ne_bytes()));
        }
        self.started.record(stream)?;
        // SAFETY: the block on the device is as large as the pinned one, which is written again
        // only after `ready`.
        unsafe { stream.copy_htod(self.block.address(), &self.pinned.bytes()[..layout.bytes]) }?;
        self.ready.record(stream)?;
        let mut largest_id = (0, 0);
        for (position, &id) in input_ids.iter().enumerate() {
            if id > largest_id.0 {
                largest_id = (id, position);
            }
        }
        Ok(CudaBatch {
            block: Arc::clone(&self.block),
            layout,
            largest_id,
            max_seqlen: view.max_seqlen(),
        })
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // The copy may still read the pinned block. A failure means that the device is gone.
        let _ = self.ready.synchronize();
    }
}

fn write(to: &mut [u8], start: usize, words: impl Iterator<Item = [u8; 4]>) {
    for (place, word) in to[start..].chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word);
    }
}

/// The pieces of attention of a batch, those of the longest sequences first: the last blocks to run are then
/// short ones.
struct Pieces {
    /// Sequence and first query row.
    tiles: Vec<[i32; 2]>,
    /// The same for sequences of other than resident lengths.
    streamed: Vec<[i32; 2]>,
    /// First token and length of the others.
    resident: Vec<[i32; 2]>,
}

impl Pieces {
    fn new(cu_seqlens: &[i32]) -> Self {
        let mut order: Vec<(i32, i32, i32)> =
            cu_seqlens.windows(2).zip(0..).map(|(w, at)| (w[1] - w[0], at, w[0])).collect();
        order.sort_by_key(|&(length, sequence, _)| (Reverse(length), sequence));
        let mut pieces = Self { tiles: Vec::new(), streamed: Vec::new(), resident: Vec::new() };
        for (length, sequence, first) in order {
            let tiles = (0..length).step_by(ATTENTION_TILE).map(|row| [sequence, row]);
            pieces.tiles.extend(tiles.clone());
            if usize::try_from(length).is_ok_and(|length| RESIDENT_SEQLENS.contains(&length)) {
                pieces.resident.push([first, length]);
            } else {
                pieces.streamed.extend(tiles);
            }
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_every_row_once_and_keep_resident_sequences_whole() {
        let pieces = Pieces::new(&[0, 1, 130, 194, 259, 436]);
        let streamed = [[4, 0], [4, 64], [4, 128], [2, 0], [0, 0]];
        assert_eq!(pieces.streamed, streamed);
        assert_eq!(pieces.resident, [[1, 129], [194, 65]]);
        let tiles =
            [[4, 0], [4, 64], [4, 128], [1, 0], [1, 64], [1, 128], [3, 0], [3, 64], [2, 0], [0, 0]];
        assert_eq!(pieces.tiles, tiles);
    }

    #[test]
    fn layout_arrays_lie_apart_and_aligned() {
        let pieces = PieceCounts { tiles: 5, streamed: 3, resident: 1 };
        let layout = Layout::new(3, 2, pieces);
        let Layout { cu_seqlens, position_ids, tiles, streamed, resident, .. } = layout;
        let starts = [cu_seqlens, position_ids, tiles, streamed, resident];
        assert_eq!(starts, [256, 512, 768, 1024, 1280]);
        assert_eq!(layout.bytes, 1280 + 8);
    }

    #[test]
    fn write_fills_words_from_a_start() {
        let mut to = [9u8; 12];
        write(&mut to, 4, [1i32, -1].iter().map(|v| v.to_ne_bytes()));
        assert_eq!(to[..4], [9; 4]);
        assert_eq!(to[4..8], 1i32.to_ne_bytes());
        assert_eq!(to[8..], (-1i32).to_ne_bytes());
    }
}
