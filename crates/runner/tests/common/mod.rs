//! A device on the host with the manners of a GPU: staging memory, a compute queue of its own
//! thread that runs behind the host, and faults and delays on request.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use virnucpro_backend::PackedView;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_runner::monitor::{Span, StageSpans};
use virnucpro_runner::{
    BoxError, InferenceBatch, LoaderFailure, Precision, Retrieved, StagedDevice, StagingMemory,
    Unsupported,
};

pub const HIDDEN: usize = 3;

/// What the device computes: for each sequence the sum of its tokens, its first and its last one.
pub fn embedding(tokens: &[u32]) -> [f32; HIDDEN] {
    let sum: u32 = tokens.iter().sum();
    [sum as f32, tokens[0] as f32, tokens[tokens.len() - 1] as f32]
}

/// Sequence `id`: between one and nine tokens.
pub fn sequence(id: u64) -> TokenizedSequence {
    let tokens = 1 + (id * 7 % 9) as u32;
    let input_ids = (0..tokens).map(|t| t + 10 * (id as u32 % 50) + 1).collect();
    TokenizedSequence { sequence_id: SequenceId(id), input_ids }
}

/// Batch `k` of three ragged sequences, numbered on from `3 k`.
pub fn batch(k: u64) -> InferenceBatch {
    let sequences: Vec<_> = (3 * k..3 * k + 3).map(sequence).collect();
    InferenceBatch::new(PackedBatch::from_sequences(&sequences).unwrap(), 27)
}

pub type Item = Result<InferenceBatch, LoaderFailure>;

pub fn batches(n: u64) -> impl Iterator<Item = Item> + Send + 'static {
    (0..n).map(|k| Ok(batch(k)))
}

/// What the device did, in the order in which it did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Transfer { slot: usize, sequence: u64 },
    ComputeDone { slot: usize, sequence: u64 },
    Retrieve { slot: usize, sequence: u64 },
    Close { slot: usize },
}

/// How the device behaves.
pub struct Manners {
    pub delays: [Vec<Duration>; 3],
    pub precision: Precision,
    pub staging: StagingMemory,
    /// First sequence of the batch at which a stage fails or panics.
    pub fail: Option<(usize, u64)>,
    pub panic: Option<(usize, u64)>,
    /// How often `input_ids`, `cu_seqlens` and `position_ids` cross.
    pub crossings: [usize; 3],
    pub missing: Option<&'static str>,
    /// Sequences whose f16 result is NaN, and whether f32 helps.
    pub nan: Vec<(u64, bool)>,
    pub drop_a_row: bool,
    pub drop_a_flag: bool,
    pub drop_a_recomputed_row: bool,
    pub drop_a_recomputed_flag: bool,
    pub panics_in_stage_spans: bool,
    /// Batches of more tokens are out of memory.
    pub most_tokens: usize,
    /// More tokens are out of memory in f32.
    pub most_exact_tokens: usize,
    /// A clock of its own, by which batch k computes for 8 ms from 10 k ms after this.
    pub own_clock: Option<Instant>,
    /// Panics where the runner expects no work, so that the thread of a stage is gone.
    pub panics_in_precision: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            delays: Default::default(),
            precision: Precision::F16,
            staging: StagingMemory::Pinned,
            fail: None,
            panic: None,
            crossings: [1; 3],
            missing: None,
            nan: Vec::new(),
            drop_a_row: false,
            drop_a_flag: false,
            drop_a_recomputed_row: false,
            drop_a_recomputed_flag: false,
            panics_in_stage_spans: false,
            most_tokens: usize::MAX,
            most_exact_tokens: usize::MAX,
            own_clock: None,
            panics_in_precision: false,
        }
    }
}

/// Device memory of one slot; the compute queue writes the result behind the host's back.
#[derive(Default)]
struct Memory {
    input_ids: Vec<u32>,
    cu_seqlens: Vec<i32>,
    result: Option<Vec<f32>>,
}

pub struct Slot {
    index: usize,
    memory: Arc<Mutex<Memory>>,
    done: Option<Receiver<()>>,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.events.lock().unwrap().push(Event::Close { slot: self.index });
    }
}

impl Slot {
    /// The result on the device, if its computation is done.
    pub fn result(&self) -> Option<Vec<f32>> {
        self.memory.lock().unwrap().result.clone()
    }

    pub fn index(&self) -> usize {
        self.index
    }
}

type Work = Box<dyn FnOnce() + Send>;

pub struct Device {
    pub manners: Manners,
    pub events: Arc<Mutex<Vec<Event>>>,
    pub recomputed: Mutex<Vec<u64>>,
    slots: AtomicUsize,
    active: Arc<[AtomicUsize; 3]>,
    /// Most stages that worked at the same moment.
    pub overlap: Arc<AtomicUsize>,
    queue: Mutex<Option<Sender<Work>>>,
    stream: Option<JoinHandle<()>>,
}

pub struct Model;

impl Device {
    pub fn new(manners: Manners) -> Self {
        let (queue, work) = channel::<Work>();
        let stream = thread::spawn(move || work.into_iter().for_each(|work| work()));
        Self {
            manners,
            events: Arc::default(),
            recomputed: Mutex::default(),
            slots: AtomicUsize::new(0),
            active: Arc::default(),
            overlap: Arc::default(),
            queue: Mutex::new(Some(queue)),
            stream: Some(stream),
        }
    }

    pub fn slots_opened(&self) -> usize {
        self.slots.load(Ordering::SeqCst)
    }

    fn sequence_of(ids: &[u32]) -> u64 {
        u64::from(ids[0])
    }

    fn misbehave(&self, stage: usize, first_id: u64) -> Result<(), BoxError> {
        if self.manners.panic == Some((stage, first_id)) {
            panic!("stage {stage} fell over");
        }
        if self.manners.fail == Some((stage, first_id)) {
            return Err(format!("stage {stage} is broken").into());
        }
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        *self.queue.lock().unwrap() = None;
        if let Some(stream) = self.stream.take() {
            let _ = stream.join();
        }
    }
}

/// Counts a stage as active while it is alive.
struct Active {
    active: Arc<[AtomicUsize; 3]>,
    stage: usize,
}

impl Active {
    fn enter(active: &Arc<[AtomicUsize; 3]>, overlap: &AtomicUsize, stage: usize) -> Self {
        active[stage].fetch_add(1, Ordering::SeqCst);
        let busy = active.iter().filter(|count| count.load(Ordering::SeqCst) > 0).count();
        overlap.fetch_max(busy, Ordering::SeqCst);
        Self { active: Arc::clone(active), stage }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.active[self.stage].fetch_sub(1, Ordering::SeqCst);
    }
}

fn delay(delays: &[Duration], n: u64) {
    if !delays.is_empty() {
        thread::sleep(delays[n as usize % delays.len()]);
    }
}

const OUT_OF_MEMORY: &str = "no memory is left";

impl StagedDevice<Model> for Device {
    type Slot = Slot;

    fn is_out_of_memory(&self, error: &BoxError) -> bool {
        error.to_string() == OUT_OF_MEMORY
    }

    fn name(&self) -> String {
        "synthetic".into()
    }

    fn precision(&self) -> Precision {
        assert!(!self.manners.panics_in_precision, "the precision is unknown");
        self.manners.precision
    }

    fn check_packed(&self, _: &Model) -> Result<(), Unsupported> {
        match self.manners.missing {
            Some(missing) => Err(Unsupported { device: self.name(), missing: missing.into() }),
            None => Ok(()),
        }
    }

    fn open_slot(&self, _: &Model) -> Result<Slot, BoxError> {
        let index = self.slots.fetch_add(1, Ordering::SeqCst);
        let events = Arc::clone(&self.events);
        Ok(Slot { index, memory: Arc::default(), done: None, events })
    }

    fn staging(&self, _: &Slot) -> StagingMemory {
        self.manners.staging
    }

    fn transfer(
        &self,
        _: &Model,
        _task: usize,
        batch: PackedView<'_>,
        slot: &mut Slot,
    ) -> Result<(), BoxError> {
        let _active = Active::enter(&self.active, &self.overlap, 0);
        let [ids, ends, positions] = self.manners.crossings;
        let (mut input_ids, mut cu_seqlens) = (Vec::new(), Vec::new());
        (0..ids).for_each(|_| input_ids = batch.input_ids().to_vec());
        (0..ends).for_each(|_| cu_seqlens = batch.cu_seqlens().to_vec());
        (0..positions).for_each(|_| drop(batch.position_ids().to_vec()));
        if input_ids.is_empty() {
            return Ok(());
        }
        let sequence = Self::sequence_of(&input_ids);
        self.misbehave(0, sequence)?;
        delay(&self.manners.delays[0], sequence);
        assert!(slot.done.is_none(), "the slot is still computing");
        self.events.lock().unwrap().push(Event::Transfer { slot: slot.index, sequence });
        *slot.memory.lock().unwrap() = Memory { input_ids, cu_seqlens, result: None };
        Ok(())
    }

    fn compute(&self, _: &Model, slot: &mut Slot) -> Result<(), BoxError> {
        let memory = Arc::clone(&slot.memory);
        let sequence = Self::sequence_of(&memory.lock().unwrap().input_ids);
        self.misbehave(1, sequence)?;
        if memory.lock().unwrap().input_ids.len() > self.manners.most_tokens {
            return Err(OUT_OF_MEMORY.into());
        }
        let (done, wait) = channel();
        slot.done = Some(wait);
        let (active, overlap) = (Arc::clone(&self.active), Arc::clone(&self.overlap));
        let (events, index) = (Arc::clone(&self.events), slot.index);
        let delays = self.manners.delays[1].clone();
        let nan: Vec<u64> = self.manners.nan.iter().map(|&(id, _)| id).collect();
        let work = move || {
            let active = Active::enter(&active, &overlap, 1);
            delay(&delays, sequence);
            let mut memory = memory.lock().unwrap();
            let mut result = Vec::new();
            for ends in memory.cu_seqlens.windows(2) {
                let tokens = &memory.input_ids[ends[0] as usize..ends[1] as usize];
                let mut row = embedding(tokens);
                if nan.contains(&u64::from(tokens[0])) {
                    row[1] = f32::NAN;
                }
                result.extend(row);
            }
            memory.result = Some(result);
            events.lock().unwrap().push(Event::ComputeDone { slot: index, sequence });
            drop((active, memory));
            let _ = done.send(());
        };
        self.queue
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .send(Box::new(work))
            .map_err(|_| "the stream is gone")?;
        Ok(())
    }

    fn synchronize(&self, slot: &mut Slot) -> Result<(), BoxError> {
        if let Some(done) = slot.done.take() {
            done.recv()?;
        }
        Ok(())
    }

    fn retrieve(&self, _: &Model, slot: &mut Slot) -> Result<Retrieved, BoxError> {
        let _active = Active::enter(&self.active, &self.overlap, 2);
        let memory = slot.memory.lock().unwrap();
        let sequence = Self::sequence_of(&memory.input_ids);
        self.misbehave(2, sequence)?;
        delay(&self.manners.delays[2], sequence);
        self.events.lock().unwrap().push(Event::Retrieve { slot: slot.index, sequence });
        let mut embeddings = memory.result.clone().ok_or("read before it was computed")?;
        let finite = |row: &[f32]| row.iter().all(|value| value.is_finite());
        let mut is_finite: Vec<bool> = embeddings.chunks(HIDDEN).map(finite).collect();
        if self.manners.drop_a_row {
            embeddings.truncate(embeddings.len() - HIDDEN);
        }
        if self.manners.drop_a_flag {
            is_finite.pop();
        }
        Ok(Retrieved { embeddings, hidden_size: HIDDEN, is_finite })
    }

    fn has_own_clock(&self) -> bool {
        self.manners.own_clock.is_some()
    }

    fn stage_spans(&self, slot: &mut Slot) -> Result<Option<StageSpans>, BoxError> {
        assert!(!self.manners.panics_in_stage_spans, "the clock is broken");
        // Tokens of sequence n begin at 10 n + 1, and a batch has three of them.
        let batch = Self::sequence_of(&slot.memory.lock().unwrap().input_ids) / 30;
        Ok(self.manners.own_clock.map(|base| {
            let span = |after, ms| Span {
                start: base + Duration::from_millis(10 * batch + after),
                duration: Duration::from_millis(ms),
            };
            StageSpans { htod: span(0, 1), compute: span(1, 8), dtoh: Some(span(9, 1)) }
        }))
    }

    fn recompute_f32(
        &self,
        _: &Model,
        _task: usize,
        batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError> {
        if batch.total_tokens() > self.manners.most_exact_tokens {
            return Err(OUT_OF_MEMORY.into());
        }
        let (mut embeddings, mut is_finite) = (Vec::new(), Vec::new());
        for range in batch.token_ranges() {
            let tokens = &batch.input_ids()[range];
            let first = u64::from(tokens[0]);
            self.recomputed.lock().unwrap().push(first);
            let mut row = embedding(tokens);
            let helps = self.manners.nan.iter().all(|&(id, helps)| id != first || helps);
            if !helps {
                row[1] = f32::NAN;
            }
            is_finite.push(helps);
            embeddings.extend(row);
        }
        if self.manners.drop_a_recomputed_row {
            embeddings.truncate(embeddings.len() - HIDDEN);
        }
        if self.manners.drop_a_recomputed_flag {
            is_finite.pop();
        }
        Ok(Retrieved { embeddings, hidden_size: HIDDEN, is_finite })
    }
}
