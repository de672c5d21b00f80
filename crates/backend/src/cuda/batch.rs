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
/// As [`PackedView`]; `order` i32 `[num_seqs]`, the sequences of other lengths than
/// [`RESIDENT_SEQLENS`] and then those of them, both by falling length; and `tiles` i32
/// `[num_tiles, 2]`, sequence and first query row of every piece of attention in the same order.
#[derive(Debug)]
pub struct CudaBatch {
    block: Arc<DeviceBuffer>,
    layout: Layout,
    /// The sequences in front of those of resident lengths, and their tiles.
    streamed: (usize, usize),
    /// The largest token id and where it stands, to be held against the embedding table.
    pub(super) largest_id: (u32, usize),
    pub(super) max_seqlen: usize,
}

/// Where each array begins in the block, in bytes.
#[derive(Clone, Copy, Debug)]
struct Layout {
    tokens: usize,
    sequences: usize,
    tiles: usize,
    cu_seqlens: usize,
    position_ids: usize,
    order: usize,
    tile_list: usize,
    bytes: usize,
}

impl Layout {
    fn new(tokens: usize, sequences: usize, tiles: usize) -> Self {
        let mut end = tokens * 4;
        let mut place = |bytes: usize| {
            let start = end.next_multiple_of(ALIGNMENT);
            end = start + bytes;
            start
        };
        let cu_seqlens = place((sequences + 1) * 4);
        let position_ids = place(tokens * 4);
        let order = place(sequences * 4);
        let tile_list = place(tiles * 8);
        Self { tokens, sequences, tiles, cu_seqlens, position_ids, order, tile_list, bytes: end }
    }
}

impl CudaBatch {
    pub(super) fn total_tokens(&self) -> usize {
        self.layout.tokens
    }

    pub(super) fn num_seqs(&self) -> usize {
        self.layout.sequences
    }

    pub(super) fn num_tiles(&self) -> usize {
        self.layout.tiles
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

    /// The sequences of resident lengths: where their numbers are, and how many there are.
    pub(super) fn resident(&self) -> (u64, usize) {
        let (before, _) = self.streamed;
        let at = self.block.address() + (self.layout.order + before * 4) as u64;
        (at, self.layout.sequences - before)
    }

    /// Tiles of the sequences of other lengths, which are the first.
    pub(super) fn num_streamed_tiles(&self) -> usize {
        self.streamed.1
    }

    pub(super) fn tiles(&self) -> u64 {
        self.block.address() + self.layout.tile_list as u64
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
        let bytes = Layout::new(tokens, tokens, tokens).bytes;
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
        let order = attention_order(cu_seqlens);
        let tiles = attention_tiles(&order);
        let before = order.partition_point(|&(length, _)| !is_resident(length));
        let streamed = (before, attention_tiles(&order[..before]).len() / 2);
        let layout = Layout::new(input_ids.len(), order.len(), tiles.len() / 2);
        if layout.bytes > self.block.bytes() {
            self.pinned = PinnedBuffer::new(&self.context, layout.bytes, PinnedUse::Write)?;
            self.block = Arc::new(DeviceBuffer::new(&self.context, layout.bytes)?);
        }
        let pinned = &mut self.pinned.bytes_mut()[..layout.bytes];
        write(pinned, 0, input_ids.iter().map(|id| id.to_ne_bytes()));
        write(pinned, layout.cu_seqlens, cu_seqlens.iter().map(|at| at.to_ne_bytes()));
        write(pinned, layout.position_ids, view.position_ids().iter().map(|p| p.to_ne_bytes()));
        let sequences = order.iter().map(|(_, sequence)| sequence.to_ne_bytes());
        write(pinned, layout.order, sequences);
        write(pinned, layout.tile_list, tiles.iter().map(|tile| tile.to_ne_bytes()));
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
            streamed,
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

fn is_resident(length: i32) -> bool {
    usize::try_from(length).is_ok_and(|length| RESIDENT_SEQLENS.contains(&length))
}

/// (length, sequence), those of resident lengths behind the others, in either part the longest
/// first: the last blocks to run are then short ones.
fn attention_order(cu_seqlens: &[i32]) -> Vec<(i32, i32)> {
    let mut order: Vec<(i32, i32)> =
        cu_seqlens.windows(2).zip(0..).map(|(w, sequence)| (w[1] - w[0], sequence)).collect();
    order.sort_by_key(|&(length, sequence)| (is_resident(length), Reverse(length), sequence));
    order
}

/// (sequence, first query row) of every tile of sequences of these lengths.
fn attention_tiles(order: &[(i32, i32)]) -> Vec<i32> {
    let rows = |length| (0..length).step_by(ATTENTION_TILE);
    order
        .iter()
        .flat_map(|&(length, sequence)| rows(length).flat_map(move |row| [sequence, row]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_tiles_cover_every_row_once_with_resident_sequences_behind_the_others() {
        let cu_seqlens = [0, 1, 130, 194, 259, 452];
        let order = attention_order(&cu_seqlens);
        assert_eq!(order, [(193, 4), (64, 2), (1, 0), (129, 1), (65, 3)]);
        let tiles = attention_tiles(&order);
        let pairs: Vec<_> = tiles.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let streamed = [(4, 0), (4, 64), (4, 128), (4, 192), (2, 0), (0, 0)];
        assert_eq!(pairs[..6], streamed);
        assert_eq!(pairs[6..], [(1, 0), (1, 64), (1, 128), (3, 0), (3, 64)]);
    }

    #[test]
    fn layout_arrays_lie_apart_and_aligned() {
        let layout = Layout::new(3, 2, 5);
        let starts = [layout.cu_seqlens, layout.position_ids, layout.order, layout.tile_list];
        assert_eq!(starts, [256, 512, 768, 1024]);
        assert_eq!(layout.bytes, 1024 + 40);
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
