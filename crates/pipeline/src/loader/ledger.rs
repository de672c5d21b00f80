//! Which sequences are on their way, and putting results back in the order of the input.
//!
//! Owns the bound on what is in flight: a stretch is admitted only while few are open. Since a
//! packer holds a sequence back for one window at most, the oldest stretch is always completed by
//! what is admitted already, so the wait for admission ends. Entry type: [`Ledger`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use virnucpro_runner::InferenceResult;

use super::Stretch;
use crate::PipelineError;

/// Stretches between admission and completion: one with the device, one in the packers, one held
/// back, one being tokenised.
const OPEN_STRETCHES: usize = 4;

type Row = Arc<[f32]>;

/// A stretch with the plan for its sequences; `id = sequence × tasks + task`.
pub(super) struct Admission<S> {
    pub(super) stretch: Arc<S>,
    /// Number of its first sequence in the input.
    pub(super) first: u64,
    /// Sequences that go to an encoder.
    pub(super) leaders: usize,
    /// Sequences whose result is that of another one, at or before them.
    pub(super) aliases: Vec<(u64, u64)>,
    /// Ids that no later stretch refers to.
    pub(super) evicted: Vec<u64>,
}

struct Open<S> {
    admission: Admission<S>,
    rows: Vec<Option<Row>>,
    unknown: Vec<u64>,
    missing: usize,
}

/// A stretch whose sequences all have their embeddings.
pub(crate) struct Finished<S> {
    pub(crate) stretch: Arc<S>,
    tasks: usize,
    rows: Vec<Row>,
    /// Tokens outside the alphabet, for each encoder.
    pub(crate) unknown_tokens: Vec<u64>,
    /// Sequences answered without a second embedding.
    pub(crate) fanned_out: u64,
}

impl<S> Finished<S> {
    /// The embedding of a sequence by encoder number `task`.
    pub(crate) fn row(&self, sequence: usize, task: usize) -> &[f32] {
        &self.rows[sequence * self.tasks + task]
    }
}

/// What a wait for the next stretch ended with.
pub(crate) enum NextWindow<S> {
    /// The next stretch of the input.
    Finished(Finished<S>),
    /// Nothing yet.
    Waiting,
    /// The input is at its end and everything was delivered.
    End,
}

/// The stretches in flight; shared by the thread that admits them, the one that brings results and
/// the one that takes them in order.
pub(crate) struct Ledger<S> {
    state: Mutex<State<S>>,
    changed: Condvar,
    tasks: usize,
    keeps: bool,
}

struct State<S> {
    open: VecDeque<Open<S>>,
    kept: HashMap<u64, (Row, u64)>,
    failure: Option<PipelineError>,
    is_input_done: bool,
    are_results_done: bool,
    is_closed: bool,
}

impl<S: Stretch> Ledger<S> {
    /// `keeps`: whether results are kept for sequences that come again.
    pub(crate) fn new(tasks: usize, keeps: bool) -> Self {
        let state = State {
            open: VecDeque::new(),
            kept: HashMap::new(),
            failure: None,
            is_input_done: false,
            are_results_done: false,
            is_closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), tasks, keeps }
    }

    // Every change leaves a valid state, so a panic elsewhere does not poison it.
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes a stretch in; `false` once the ledger is closed.
    pub(super) fn admit(&self, admission: Admission<S>) -> bool {
        let mut state = self.lock();
        while state.open.len() >= OPEN_STRETCHES && !state.is_closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_closed {
            return false;
        }
        let places = admission.stretch.num_sequences() * self.tasks;
        let (rows, unknown) = (vec![None; places], vec![0; places]);
        let missing = admission.leaders;
        state.open.push_back(Open { admission, rows, unknown, missing });
        self.changed.notify_all();
        true
    }

    /// Says that nothing more will be admitted.
    pub(super) fn end_input(&self) {
        self.lock().is_input_done = true;
        self.changed.notify_all();
    }

    /// Notes tokens outside the alphabet; before the sequence's result is brought.
    pub(super) fn note_unknown(&self, id: u64, tokens: u64) {
        let mut state = self.lock();
        if let Some((open, place)) = state.find(id, self.tasks) {
            open.unknown[place] = tokens;
        }
    }

    /// Brings the results of one batch; `false` once nobody waits for them.
    pub(crate) fn place(&self, result: &InferenceResult) -> bool {
        let mut state = self.lock();
        for (id, row) in result.rows() {
            let Some((open, place)) = state.find(id.0, self.tasks) else {
                state.failure = Some(PipelineError::UnknownSequence { sequence_id: id.0 });
                break;
            };
            let row = Row::from(row);
            if open.rows[place].replace(Arc::clone(&row)).is_none() {
                open.missing = open.missing.saturating_sub(1);
            }
            let unknown = open.unknown[place];
            if self.keeps {
                state.kept.insert(id.0, (row, unknown));
            }
        }
        self.changed.notify_all();
        !state.is_closed
    }

    /// Ends the stream with a failure now, whatever is still on its way.
    ///
    /// Nothing is written of a run that fails, so what came before it is not waited for.
    pub(super) fn fail(&self, failure: PipelineError) {
        self.lock().failure.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// The failure that nobody has been told yet.
    pub(crate) fn take_failure(&self) -> Option<PipelineError> {
        self.lock().failure.take()
    }

    /// Says that no more results will come, and why if that is a failure.
    pub(crate) fn end_results(&self, failure: Option<PipelineError>) {
        let mut state = self.lock();
        state.are_results_done = true;
        if state.failure.is_none() {
            state.failure = failure;
        }
        self.changed.notify_all();
    }

    /// Ends the ledger: whoever waits for room goes home.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// The oldest stretch once it is complete; waits at most `patience`.
    pub(crate) fn next(&self, patience: Duration) -> Result<NextWindow<S>, PipelineError> {
        let (mut state, _) = self
            .changed
            .wait_timeout_while(self.lock(), patience, |state| state.is_idle())
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        if state.open.front().is_some_and(|open| open.missing == 0) {
            let Some(open) = state.open.pop_front() else { return Ok(NextWindow::Waiting) };
            let finished = state.finish(open, self.tasks);
            self.changed.notify_all();
            return finished.map(NextWindow::Finished);
        }
        if state.open.is_empty() && state.is_input_done && state.are_results_done {
            return Ok(NextWindow::End);
        }
        if state.are_results_done {
            let missing = state.open.iter().map(|open| open.missing as u64).sum();
            return Err(PipelineError::LostSequences { missing });
        }
        Ok(NextWindow::Waiting)
    }

    /// Number of results kept for sequences that come again.
    #[cfg(test)]
    pub(super) fn num_kept(&self) -> usize {
        self.lock().kept.len()
    }

    /// Letters of the input behind the results that have come for open stretches.
    pub(crate) fn letters_under_way(&self) -> u64 {
        let state = self.lock();
        let letters = |open: &Open<S>| {
            let done = open.admission.leaders - open.missing;
            let share = done as f64 / open.admission.leaders.max(1) as f64;
            (open.admission.stretch.input_letters() as f64 * share) as u64
        };
        state.open.iter().map(letters).sum()
    }
}

impl<S: Stretch> State<S> {
    fn find(&mut self, id: u64, tasks: usize) -> Option<(&mut Open<S>, usize)> {
        let open = self.open.iter_mut().rev().find(|o| o.admission.first * tasks as u64 <= id)?;
        let place = usize::try_from(id - open.admission.first * tasks as u64).ok()?;
        (place < open.rows.len()).then_some((open, place))
    }

    fn is_idle(&self) -> bool {
        let is_ready = self.open.front().is_some_and(|open| open.missing == 0);
        !is_ready && self.failure.is_none() && !self.are_results_done
    }

    /// Fills in what other sequences have found, and forgets what nobody asks for any more.
    fn finish(&mut self, mut open: Open<S>, tasks: usize) -> Result<Finished<S>, PipelineError> {
        let Admission { stretch, first, aliases, evicted, .. } = open.admission;
        for &(id, leader) in &aliases {
            let place = (id - first * tasks as u64) as usize;
            let kept = self.kept.get(&leader);
            let (row, unknown) = kept.ok_or(PipelineError::LostSequences { missing: 1 })?;
            open.rows[place] = Some(Arc::clone(row));
            open.unknown[place] = *unknown;
        }
        for id in evicted {
            self.kept.remove(&id);
        }
        let mut unknown_tokens = vec![0; tasks];
        for (place, unknown) in open.unknown.iter().enumerate() {
            unknown_tokens[place % tasks] += unknown;
        }
        let missing = open.rows.iter().filter(|row| row.is_none()).count() as u64;
        let rows: Vec<Row> = open.rows.into_iter().flatten().collect();
        if missing > 0 {
            return Err(PipelineError::LostSequences { missing });
        }
        let fanned_out = aliases.len() as u64;
        Ok(Finished { stretch, tasks, rows, unknown_tokens, fanned_out })
    }
}
