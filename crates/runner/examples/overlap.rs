//! Three stages of 4, 10 and 4 ms on a device that only sleeps: what overlap is worth.
//!
//! `cargo run --release -p virnucpro-runner --example overlap [-- TRACE.json]`

use std::error::Error;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use virnucpro_backend::PackedView;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_runner::monitor::{Monitor, MonitorConfig};
use virnucpro_runner::{
    BoxError, InferenceBatch, Precision, Retrieved, RunnerConfig, StagedDevice, StagingMemory,
    Unsupported, run_async_inference,
};

const BATCHES: u64 = 100;
const STAGES_MS: [u64; 3] = [4, 10, 4];

/// Takes its time and returns a zero for each sequence.
struct Sleeper;

/// Number of sequences in the slot.
struct Slot(usize);

impl StagedDevice<()> for Sleeper {
    type Slot = Slot;

    fn name(&self) -> String {
        "sleeper".into()
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn check_packed(&self, (): &()) -> Result<(), Unsupported> {
        Ok(())
    }

    fn open_slot(&self, (): &()) -> Result<Slot, BoxError> {
        Ok(Slot(0))
    }

    fn staging(&self, _: &Slot) -> StagingMemory {
        StagingMemory::Host
    }

    fn transfer(
        &self,
        (): &(),
        _task: usize,
        batch: PackedView<'_>,
        slot: &mut Slot,
    ) -> Result<(), BoxError> {
        let _ = (batch.input_ids(), batch.position_ids());
        slot.0 = batch.cu_seqlens().len() - 1;
        sleep(Duration::from_millis(STAGES_MS[0]));
        Ok(())
    }

    fn compute(&self, (): &(), _: &mut Slot) -> Result<(), BoxError> {
        sleep(Duration::from_millis(STAGES_MS[1]));
        Ok(())
    }

    fn synchronize(&self, _: &mut Slot) -> Result<(), BoxError> {
        Ok(())
    }

    fn retrieve(&self, (): &(), slot: &mut Slot) -> Result<Retrieved, BoxError> {
        sleep(Duration::from_millis(STAGES_MS[2]));
        let (embeddings, is_finite) = (vec![0.0; slot.0], vec![true; slot.0]);
        Ok(Retrieved { embeddings, hidden_size: 1, is_finite })
    }

    fn recompute_f32(&self, (): &(), _: usize, _: &PackedBatch) -> Result<Retrieved, BoxError> {
        Err("everything it returns is finite".into())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let trace = std::env::args_os().nth(1).map(Into::into);
    for (slots, trace) in [(1, None), (2, None), (3, trace), (4, None)] {
        let sequence_id = SequenceId(0);
        let sequence = TokenizedSequence { sequence_id, input_ids: vec![0, 5, 2] };
        let packed = PackedBatch::from_sequences(&[sequence])?;
        let batch = InferenceBatch::new(packed, 3);
        let monitor = Monitor::start(MonitorConfig { trace, ..MonitorConfig::default() })?;
        let slots = NonZeroUsize::new(slots).ok_or("no slots")?;
        let config = RunnerConfig { slots, monitor: monitor.clone(), ..RunnerConfig::default() };
        let batches = (0..BATCHES).map(move |_| Ok(batch.clone()));
        let start = Instant::now();
        let delivered =
            run_async_inference(Arc::new(()), Arc::new(Sleeper), batches, config, |_| {})?;
        let per_batch_ms = start.elapsed().as_secs_f64() * 1e3 / delivered as f64;
        println!("{slots} slots: {delivered} batches, {per_batch_ms:.2} ms a batch");
        monitor.finish()?;
    }
    Ok(())
}
