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

#[derive(Debug)]
struct State<B = DeviceBuffer> {
    regions: Vec<Region<B>>,
    used: usize,
    peak: usize,
}

#[derive(Debug)]
struct Region<B> {
    block: B,
    free: FreeList,
}

/// What regions are made of.
trait Block {
    fn address(&self) -> u64;
    fn bytes(&self) -> usize;
}

impl Block for DeviceBuffer {
    fn address(&self) -> u64 {
        self.address()
    }

    fn bytes(&self) -> usize {
        self.bytes()
    }
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
        let allocate = || DeviceBuffer::new(&self.context, bytes);
        let address = self.lock().take(bytes, allocate)?;
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
        state.regions.push(Region::new(DeviceBuffer::new(&self.context, bytes)?));
        Ok(true)
    }

    /// Gives memory that nobody uses back to the driver, and counts the peak anew.
    pub(super) fn release(&self) {
        let mut state = self.lock();
        state.drop_unused();
        state.peak = state.used;
    }

    /// Number of blocks taken from the driver, and their bytes.
    pub(super) fn regions(&self) -> (usize, usize) {
        let state = self.lock();
        (state.regions.len(), state.regions.iter().map(|region| region.block.bytes()).sum())
    }
}

impl<B> Default for State<B> {
    fn default() -> Self {
        Self { regions: Vec::new(), used: 0, peak: 0 }
    }
}

impl<B: Block> State<B> {
    /// Gives out `bytes`; `allocate` makes a block that has room for them.
    fn take(
        &mut self,
        bytes: usize,
        allocate: impl Fn() -> Result<B, CudaError>,
    ) -> Result<u64, CudaError> {
        let from_free = self.regions.iter_mut().find_map(|region| region.take(bytes));
        let address = match from_free {
            Some(address) => address,
            None => {
                let block = match allocate() {
                    // Each may be too small for this piece, and all of them be in its way.
                    Err(CudaError::OutOfMemory { .. }) if self.drop_unused() => allocate(),
                    other => other,
                };
                let mut region = Region::new(block?);
                let address = region.take(bytes);
                self.regions.push(region);
                address.expect("a new region has room for what it was made for")
            }
        };
        self.used += bytes;
        self.peak = self.peak.max(self.used);
        Ok(address)
    }

    fn give_back(&mut self, address: u64, bytes: usize) {
        self.used -= bytes;
        let owner = self.regions.iter_mut().find(|region| region.holds(address));
        if let Some(region) = owner {
            region.free.give_back((address - region.block.address()) as usize, bytes);
        }
    }

    /// Lets go of the regions of which nothing is given out; whether there were any.
    fn drop_unused(&mut self) -> bool {
        let before = self.regions.len();
        self.regions.retain(|region| !region.free.is_whole(region.block.bytes()));
        self.regions.len() < before
    }
}

impl<B: Block> Region<B> {
    fn new(block: B) -> Self {
        Self { free: FreeList::new(block.bytes()), block }
    }

    fn take(&mut self, bytes: usize) -> Option<u64> {
        self.free.take(bytes).map(|offset| self.block.address() + offset as u64)
    }

    fn holds(&self, address: u64) -> bool {
        let start = self.block.address();
        (start..start + self.block.bytes() as u64).contains(&address)
    }
}

impl Piece {
    pub(super) fn address(&self) -> u64 {
        self.address
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.arena.lock().give_back(self.address, self.bytes);
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
    use std::cell::Cell;

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

    /// A driver that gives blocks until its memory is full; a block gives its bytes back.
    #[derive(Default)]
    struct Driver {
        used: Cell<usize>,
        blocks: Cell<u64>,
    }

    struct HostBlock<'a> {
        driver: &'a Driver,
        address: u64,
        bytes: usize,
    }

    impl Driver {
        const CAPACITY: usize = 1000;

        fn allocate(&self, bytes: usize) -> Result<HostBlock<'_>, CudaError> {
            let free = Self::CAPACITY - self.used.get();
            if bytes > free {
                return Err(CudaError::OutOfMemory { device: "toy".into(), bytes, free });
            }
            self.used.set(self.used.get() + bytes);
            self.blocks.set(self.blocks.get() + 1);
            Ok(HostBlock { driver: self, address: self.blocks.get() << 20, bytes })
        }
    }

    impl Drop for HostBlock<'_> {
        fn drop(&mut self) {
            self.driver.used.set(self.driver.used.get() - self.bytes);
        }
    }

    impl Block for HostBlock<'_> {
        fn address(&self) -> u64 {
            self.address
        }

        fn bytes(&self) -> usize {
            self.bytes
        }
    }

    #[test]
    fn arena_lets_go_of_regions_that_are_too_small_before_it_is_out_of_memory() {
        let driver = Driver::default();
        let mut state = State::default();
        let kept = state.take(100, || driver.allocate(100)).unwrap();
        // Each larger than all before: 50 + 250 + 450 with the kept one fill the memory.
        for bytes in [50, 250, 450] {
            let address = state.take(bytes, || driver.allocate(bytes)).unwrap();
            state.give_back(address, bytes);
        }
        assert_eq!((state.regions.len(), driver.used.get()), (4, 850));
        let large = state.take(900, || driver.allocate(900)).unwrap();
        assert_eq!((state.regions.len(), driver.used.get()), (2, 1000));
        assert!(state.regions[0].holds(kept) && state.regions[1].holds(large));
        assert_eq!((state.used, state.peak), (1000, 1000));
        let full = state.take(1, || driver.allocate(1)).unwrap_err();
        assert!(full.is_out_of_memory(), "{full}");
        state.give_back(large, 900);
        state.give_back(kept, 100);
        assert!(state.take(1001, || driver.allocate(1001)).unwrap_err().is_out_of_memory());
        assert_eq!((state.regions.len(), driver.used.get(), state.used), (0, 0, 0));
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
