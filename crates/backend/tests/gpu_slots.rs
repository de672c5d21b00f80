//! The order of the three streams of a GPU, with a copy or a computation in front of each that takes
//! longer than everything behind it: whatever does not wait then comes too early every time.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the tests say
//! what is missing and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use common::{Packed, bytes, view};
use virnucpro_backend::cuda::{CudaActivation, CudaBackend, CudaBatch, CudaOptions, CudaSlot};
use virnucpro_backend::{Backend, BackendError, PoolSpec};

const WIDTH: usize = 256;
const VOCABULARY: u32 = 32;
/// Sequences of a batch that is looked at, of one token each.
const SEQUENCES: usize = 300;
/// Copied for some milliseconds: 128 MiB and more.
const TOKENS_TO_COPY: usize = 16 << 20;
/// Embedded a hundred times: some 50 GB to write.
const TOKENS_TO_EMBED: usize = 1 << 20;

/// A backend, and a table whose rows repeat their own number.
struct Embedder {
    backend: CudaBackend,
    table: <CudaBackend as Backend>::Table,
}

impl Embedder {
    fn open() -> Option<Self> {
        let backend = match CudaBackend::open(&CudaOptions::default()) {
            Ok(backend) => backend,
            Err(error) if std::env::var_os("VIRNUCPRO_TEST_GPU").is_some() => panic!("{error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let rows: Vec<f32> = (0..VOCABULARY).flat_map(|id| [id as f32; WIDTH]).collect();
        let table = backend.table(&view(&bytes(&rows), &[VOCABULARY as usize, WIDTH])).unwrap();
        Some(Self { backend, table })
    }

    /// A slot in which this id was computed already.
    fn slot_that_had(&self, id: u32) -> CudaSlot {
        let mut slot = self.backend.open_slot(SEQUENCES).unwrap();
        self.transfer(id, &mut slot);
        self.compute(&mut slot, 1);
        assert_eq!(self.retrieve(&mut slot), vec![id as f32; SEQUENCES * WIDTH]);
        slot
    }

    /// A slot whose copy takes some milliseconds.
    fn slow_copy(&self) -> CudaSlot {
        let mut slow = self.backend.open_slot(1).unwrap();
        let batch = Packed::new(&[vec![1; TOKENS_TO_COPY]]);
        self.backend.transfer(batch.view(), &mut slow).unwrap();
        slow
    }

    /// A slot whose computation takes some milliseconds, and has been through once.
    fn slow_computation(&self) -> CudaSlot {
        let mut slow = self.backend.open_slot(1).unwrap();
        for _ in 0..2 {
            let batch = Packed::new(&[vec![1; TOKENS_TO_EMBED]]);
            self.backend.transfer(batch.view(), &mut slow).unwrap();
            self.compute(&mut slow, 100);
        }
        slow
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
