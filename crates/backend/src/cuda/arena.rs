//! Activations without calls of the driver: pieces of a few large blocks, given out and taken back.
//!
//! All work on what an arena gives out is queued on one stream, so a piece that is taken back may
//! be given out again at once: whatever uses it next runs after whatever used it before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::CudaError;
use super::context::Context;
use super::memory::DeviceBuffer;

/// Alignment of every piece: what matrix libraries and copies like best.
const ALIGNMENT: usize = 256;

/// Where pieces come from.
#[derive(Debug)]
pub(super) struct Arena {
    context: Arc<Context>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    regions: Vec<Region>,
    used: usize,
    peak: usize,
}

#[derive(Debug)]
struct Region {
    buffer: DeviceBuffer,
    free: FreeList,
}

/// A piece of device memory; given back when dropped.
#[derive(Debug)]
pub(super) struct Piece {
    arena: Arc<Arena>,
    address: u64,
    bytes: usize,
}

impl Arena {
    pub(super) fn new(context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context: Arc::clone(context), state: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything in it can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives out a piece of at least `bytes`, with unspecified contents.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`] where a new region is needed and there is none.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Result<Piece, CudaError> {
        let bytes = bytes.max(1).next_multiple_of(ALIGNMENT);
        let mut state = self.lock();
        let from_free = state.regions.iter_mut().find_map(|region| region.take(bytes));
        let address = match from_free {
            Some(address) => address,
            None => {
                let buffer = DeviceBuffer::new(&self.context, bytes)?;
                let mut region = Region { free: FreeList::new(buffer.bytes()), buffer };
                let address = region.take(bytes);
                state.regions.push(region);
                address.expect("a new region has room for what it was made for")
            }
        };
        state.used += bytes;
        state.peak = state.peak.max(state.used);
        Ok(Piece { arena: Arc::clone(self), address, bytes })
    }

    /// Most bytes given out at one time.
    pub(super) fn peak(&self) -> usize {
        self.lock().peak
    }

    /// Replaces all regions by one of `bytes`; `false` while something is given out, and then
    /// nothing changes.
    ///
    /// # Errors
    /// [`CudaError::OutOfMemory`]; the arena is empty then, and grows as before.
    pub(super) fn become_one_region(&self, bytes: usize) -> Result<bool, CudaError> {
        let mut state = self.lock();
        if state.used > 0 {
            return Ok(false);
        }
        state.regions.clear();
        let bytes = bytes.next_multiple_of(ALIGNMENT);
        let buffer = DeviceBuffer::new(&self.context, bytes)?;
        state.regions.push(Region { free: FreeList::new(bytes), buffer });
        Ok(true)
    }

    /// Gives memory that nobody uses back to the driver, and counts the peak anew.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.regions.retain(|region| !region.free.is_whole(region.buffer.bytes()));
        state.peak = state.used;
    }

    /// Number of blocks taken from the driver, and their bytes.
    pub(super) fn regions(&self) -> (usize, usize) {
        let state = self.lock();
        (state.regions.len(), state.regions.iter().map(|region| region.buffer.bytes()).sum())
    }

    fn give_back(&self, address: u64, bytes: usize) {
        let mut state = self.lock();
        state.used -= bytes;
        let owner = state.regions.iter_mut().find(|region| region.holds(address));
        if let Some(region) = owner {
            region.free.give_back((address - region.buffer.address()) as usize, bytes);
        }
    }
}

impl Region {
    fn take(&mut self, bytes: usize) -> Option<u64> {
        self.free.take(bytes).map(|offset| self.buffer.address() + offset as u64)
    }

    fn holds(&self, address: u64) -> bool {
        let start = self.buffer.address();
        (start..start + self.buffer.bytes() as u64).contains(&address)
    }
}

impl Piece {
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.arena.give_back(self.address, self.bytes);
    }
}

/// Free stretches of a region, in order, no two of them touching.
#[derive(Debug)]
struct FreeList(Vec<(usize, usize)>);

impl FreeList {
    fn new(bytes: usize) -> Self {
        Self(vec![(0, bytes)])
    }

    fn is_whole(&self, bytes: usize) -> bool {
        self.0 == [(0, bytes)]
    }

    /// The first stretch that is large enough.
    fn take(&mut self, bytes: usize) -> Option<usize> {
        let at = self.0.iter().position(|&(_, free)| free >= bytes)?;
        let (offset, free) = self.0[at];
        if free == bytes {
            self.0.remove(at);
        } else {
            self.0[at] = (offset + bytes, free - bytes);
        }
        Some(offset)
    }

    fn give_back(&mut self, offset: usize, bytes: usize) {
        let at = self.0.partition_point(|&(start, _)| start < offset);
        self.0.insert(at, (offset, bytes));
        if at + 1 < self.0.len() && offset + bytes == self.0[at + 1].0 {
            self.0[at].1 += self.0.remove(at + 1).1;
        }
        if at > 0 && self.0[at - 1].0 + self.0[at - 1].1 == offset {
            self.0[at - 1].1 += self.0.remove(at).1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn free_list_given_back_stretches_become_one() {
        let mut free = FreeList::new(100);
        let all: Vec<_> = (0..4).map(|_| free.take(25).unwrap()).collect();
        assert_eq!(all, [0, 25, 50, 75]);
        assert_eq!(free.take(1), None);
        for offset in [25, 75, 0, 50] {
            free.give_back(offset, 25);
        }
        assert!(free.is_whole(100), "{free:?}");
    }

    proptest! {
        #[test]
        fn prop_free_list_never_gives_out_a_byte_twice(
            steps in prop::collection::vec((any::<bool>(), 1usize..40), 1..200),
        ) {
            let mut free = FreeList::new(256);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (give, n) in steps {
                if give && !taken.is_empty() {
                    let (offset, bytes) = taken.swap_remove(n % taken.len());
                    free.give_back(offset, bytes);
                } else if let Some(offset) = free.take(n) {
                    prop_assert!(offset + n <= 256);
                    let apart = |&(o, b): &(usize, usize)| offset + n <= o || o + b <= offset;
                    prop_assert!(taken.iter().all(apart));
                    taken.push((offset, n));
                }
                let used: usize = taken.iter().map(|t| t.1).sum();
                prop_assert_eq!(free.0.iter().map(|f| f.1).sum::<usize>(), 256 - used);
            }
            for (offset, bytes) in taken {
                free.give_back(offset, bytes);
            }
            prop_assert!(free.is_whole(256));
        }
    }
}
