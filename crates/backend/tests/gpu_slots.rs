//! The order of the three streams of a GPU, with a copy or a computation in front of each that takes
//! longer than everything behind it: whatever does not wait then comes too early every time, if the tests
//! run one by one (`--test-threads 1`).
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the tests say
//! what is missing and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Packed, bytes, open_gpu, view};
use virnucpro_backend::cuda::{CudaActivation, CudaBackend, CudaBatch, CudaSlot};
use virnucpro_backend::{Backend, BackendError, PoolSpec, Precision};

const WIDTH: usize = 256;
const VOCABULARY: u32 = 32;
/// Sequences of a batch that is looked at, of one token each.
const SEQUENCES: usize = 300;
/// Tokens of a batch that is slow: 8 MB to copy, and half a gigabyte to write whenever they are embedded.
const SLOW_TOKENS: usize = 1 << 20;
/// How often they are embedded.
const SLOW_TIMES: usize = 400;

/// A backend, a table whose rows repeat their own number, and a batch that is slow.
struct Embedder {
    backend: CudaBackend,
    table: <CudaBackend as Backend>::Table,
    slow: Packed,
}

impl Embedder {
    fn open() -> Option<Self> {
        let backend = open_gpu(Precision::F16)?;
        let rows: Vec<f32> = (0..VOCABULARY).flat_map(|id| [id as f32; WIDTH]).collect();
        let table = backend.table(&view(&bytes(&rows), &[VOCABULARY as usize, WIDTH])).unwrap();
        Some(Self { backend, table, slow: Packed::new(&[vec![1; SLOW_TOKENS]]) })
    }

    /// A slot in which this id was computed already.
    fn slot_that_had(&self, id: u32) -> CudaSlot {
        let mut slot = self.backend.open_slot(SEQUENCES).unwrap();
        self.transfer(id, &mut slot);
        self.compute(&mut slot, 1);
        assert_eq!(self.retrieve(&mut slot), vec![id as f32; SEQUENCES * WIDTH]);
        slot
    }

    /// A slot that is computed for tens of milliseconds, and has been so before.
    fn slow_computation(&self) -> CudaSlot {
        let mut slow = self.backend.open_slot(1).unwrap();
        for _ in 0..2 {
            self.transfer_slow(&mut slow);
            self.compute(&mut slow, SLOW_TIMES);
        }
        slow
    }

    /// A slot whose next copy waits for such a computation: whatever is queued on the same streams, a
    /// computation may begin before a copy.
    fn slow_copy(&self) -> CudaSlot {
        let mut slow = self.slow_computation();
        self.transfer_slow(&mut slow);
        slow
    }

    fn transfer_slow(&self, slow: &mut CudaSlot) {
        self.backend.transfer(self.slow.view(), slow).unwrap();
    }

    fn transfer(&self, id: u32, slot: &mut CudaSlot) {
        let batch = Packed::new(&vec![vec![id]; SEQUENCES]);
        self.backend.transfer(batch.view(), slot).unwrap();
    }

    fn compute(&self, slot: &mut CudaSlot, times: usize) {
        let work = |batch: &CudaBatch| -> Result<CudaActivation, BackendError> {
            let embed = || self.backend.embed(batch, &self.table, None, None);
            let mut hidden_states = embed()?;
            for _ in 1..times {
                hidden_states = embed()?;
            }
            self.backend.pool(batch, PoolSpec::First, &hidden_states)
        };
        assert!(self.backend.compute(slot, work).unwrap().is_some());
    }

    fn retrieve(&self, slot: &mut CudaSlot) -> Vec<f32> {
        self.backend.retrieve(slot).unwrap().unwrap().values
    }
}

#[test]
fn gpu_slot_computes_what_its_own_copy_brings() {
    let Some(embedder) = Embedder::open() else { return };
    let mut slot = embedder.slot_that_had(7);
    let _slow = embedder.slow_copy();
    embedder.transfer(9, &mut slot);
    embedder.compute(&mut slot, 1);
    assert_eq!(embedder.retrieve(&mut slot), vec![9.0; SEQUENCES * WIDTH]);
}

#[test]
fn gpu_slot_keeps_a_batch_until_it_is_copied() {
    let Some(embedder) = Embedder::open() else { return };
    let mut slot = embedder.slot_that_had(5);
    let _slow = embedder.slow_copy();
    embedder.transfer(7, &mut slot);
    embedder.compute(&mut slot, 1);
    embedder.transfer(9, &mut slot);
    assert_eq!(embedder.retrieve(&mut slot), vec![7.0; SEQUENCES * WIDTH]);
}

#[test]
fn gpu_slot_keeps_a_batch_until_it_is_computed() {
    let Some(embedder) = Embedder::open() else { return };
    let mut slot = embedder.slot_that_had(5);
    let _slow = embedder.slow_computation();
    embedder.transfer(7, &mut slot);
    embedder.compute(&mut slot, 1);
    embedder.transfer(9, &mut slot);
    assert_eq!(embedder.retrieve(&mut slot), vec![7.0; SEQUENCES * WIDTH]);
    embedder.compute(&mut slot, 1);
    assert_eq!(embedder.retrieve(&mut slot), vec![9.0; SEQUENCES * WIDTH]);
}

#[test]
fn gpu_slot_retrieves_what_is_computed() {
    let Some(embedder) = Embedder::open() else { return };
    let mut slot = embedder.slot_that_had(5);
    let _slow = embedder.slow_computation();
    embedder.transfer(7, &mut slot);
    embedder.compute(&mut slot, 1);
    assert_eq!(embedder.retrieve(&mut slot), vec![7.0; SEQUENCES * WIDTH]);
}
