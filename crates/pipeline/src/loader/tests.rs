//! The loader and the ledger with a device that answers each sequence by what it reads.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use virnucpro_backend::PackedView;
use virnucpro_batch::{Esm2Tokenizer, PackedBatch, SequenceTokenizer};
use virnucpro_runner::monitor::Monitor;
use virnucpro_runner::{
    AsyncInferenceRunner, BoxError, InferenceResult, InferenceResults, Precision, Retrieved,
    RunnerConfig, StagedDevice, StagingMemory, Unsupported,
};
use virnucpro_seq::SeqError;

use super::{Finished, Ledger, Loader, LoaderConfig, LoaderTask, NextWindow, Stretch};
use crate::PipelineError;

/// Letters for two encoders, the second reading them backwards.
#[derive(Clone)]
struct Words(Vec<[Vec<u8>; 2]>);

impl Words {
    fn new(words: &[&str]) -> Self {
        let both = |word: &&str| [word.bytes().collect(), word.bytes().rev().collect()];
        Self(words.iter().map(both).collect())
    }
}

impl Stretch for Words {
    fn num_sequences(&self) -> usize {
        self.0.len()
    }

    fn letters(&self, sequence: usize, task: usize) -> &[u8] {
        &self.0[sequence][task]
    }

    fn record(&self, _sequence: usize) -> &str {
        "word"
    }

    fn input_letters(&self) -> u64 {
        self.0.iter().map(|word| word[0].len() as u64).sum()
    }
}

/// Embeds a sequence as the number of its tokens and a polynomial of their ids, which order and
/// content decide; small whole numbers, so exact.
fn embedding(ids: &[u32]) -> [f32; 2] {
    let hash = ids.iter().fold(0, |hash, id| (31 * hash + id) % 65_521);
    [ids.len() as f32, hash as f32]
}

struct Reader;

impl StagedDevice<()> for Reader {
    type Slot = Option<Retrieved>;

    fn name(&self) -> String {
        "reader".into()
    }

    fn precision(&self) -> Precision {
        Precision::F32
    }

    fn check_packed(&self, (): &()) -> Result<(), Unsupported> {
        Ok(())
    }

    fn open_slot(&self, (): &()) -> Result<Self::Slot, BoxError> {
        Ok(None)
    }

    fn staging(&self, _slot: &Self::Slot) -> StagingMemory {
        StagingMemory::Host
    }

    fn transfer(
        &self,
        (): &(),
        _task: usize,
        batch: PackedView<'_>,
        slot: &mut Self::Slot,
    ) -> Result<(), BoxError> {
        let (ids, starts, _) = (batch.input_ids(), batch.cu_seqlens(), batch.position_ids());
        let sequences = starts.windows(2).map(|w| &ids[w[0] as usize..w[1] as usize]);
        let embeddings: Vec<f32> = sequences.flat_map(embedding).collect();
        let is_finite = vec![true; starts.len() - 1];
        *slot = Some(Retrieved { embeddings, hidden_size: 2, is_finite });
        Ok(())
    }

    fn compute(&self, (): &(), _slot: &mut Self::Slot) -> Result<(), BoxError> {
        Ok(())
    }

    fn synchronize(&self, _slot: &mut Self::Slot) -> Result<(), BoxError> {
        Ok(())
    }

    fn retrieve(&self, (): &(), slot: &mut Self::Slot) -> Result<Retrieved, BoxError> {
        slot.take().ok_or_else(|| "nothing was transferred".into())
    }

    fn recompute_f32(
        &self,
        (): &(),
        _task: usize,
        _batch: &PackedBatch,
    ) -> Result<Retrieved, BoxError> {
        Err("it computes in f32".into())
    }
}

/// A loader over `source` with its ledger and the results of the device.
struct Stream<I, S> {
    loader: Loader<I, S>,
    ledger: Arc<Ledger<S>>,
    results: InferenceResults<(), Reader>,
}

/// `hidden_size` is what the cache is told, so that it holds as few entries as a test likes.
fn start<I, S>(source: I, dedup: bool, hidden_size: usize) -> Stream<I, S>
where
    I: Iterator<Item = Result<S, SeqError>> + Send + 'static,
    S: Stretch,
{
    let task = |name: &str| LoaderTask {
        name: name.into(),
        tokenizer: Box::new(Esm2Tokenizer::default()),
        token_budget: NonZeroUsize::new(24).unwrap(),
        hidden_size,
        is_pooled: true,
    };
    let ledger = Arc::new(Ledger::new(2, dedup));
    let threads = NonZeroUsize::new(2).unwrap();
    let config = LoaderConfig { threads, dedup, monitor: Monitor::disabled() };
    let tasks = vec![task("forwards"), task("backwards")];
    let (loader, batches) = Loader::start(source, tasks, &ledger, config).unwrap();
    let runner =
        AsyncInferenceRunner::new(Arc::new(()), Arc::new(Reader), RunnerConfig::default()).unwrap();
    Stream { loader, ledger, results: runner.run(batches).unwrap() }
}

impl<I, S> Stream<I, S>
where
    I: Iterator<Item = Result<S, SeqError>> + Send + 'static,
    S: Stretch,
{
    /// Takes everything; `place` brings a result to the ledger, or not.
    fn finish(
        self,
        place: impl Fn(&Ledger<S>, &InferenceResult) -> bool + Sync,
    ) -> (Vec<Finished<S>>, Result<(), PipelineError>) {
        let Self { loader, ledger, results } = self;
        let mut finished = Vec::new();
        let outcome = std::thread::scope(|scope| {
            let (ledger, place) = (&ledger, &place);
            scope.spawn(move || {
                for result in results {
                    match result {
                        Ok(result) if place(ledger, &result) => {}
                        Ok(_) => return,
                        Err(error) => return ledger.end_results(Some(error.into())),
                    }
                }
                ledger.end_results(None);
            });
            let outcome = loop {
                match ledger.next(Duration::from_secs(60)) {
                    Ok(NextWindow::Finished(window)) => finished.push(window),
                    Ok(NextWindow::Waiting) => {}
                    Ok(NextWindow::End) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            ledger.close();
            loader.stop();
            outcome
        });
        loader.join();
        (finished, outcome)
    }

    fn finish_all(self) -> (Vec<Finished<S>>, Result<(), PipelineError>) {
        self.finish(|ledger, result| ledger.place(result))
    }
}

/// Stretches of 0 to 40 words over three letters and `?`, many of them repeated.
fn stretches() -> Vec<Words> {
    let mut seed = 7_u64;
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    (0..30)
        .map(|_| {
            let words: Vec<String> = (0..next(41))
                .map(|_| (0..1 + next(4)).map(|_| ["A", "L", "K", "?"][next(4) as usize]).collect())
                .collect();
            Words::new(&words.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect()
}

fn check(stretches: &[Words], finished: &[Finished<Words>], dedup: bool) -> u64 {
    let tokenizer = Esm2Tokenizer::default();
    assert_eq!(finished.len(), stretches.len());
    for (expected, found) in stretches.iter().zip(finished) {
        let mut unknown = [0, 0];
        for (sequence, word) in expected.0.iter().enumerate() {
            for task in 0..2 {
                let encoding = tokenizer.encode(&word[task]).unwrap();
                assert_eq!(found.row(sequence, task), embedding(&encoding.input_ids), "{word:?}");
                unknown[task] += encoding.unknown_tokens as u64;
            }
        }
        assert_eq!(found.unknown_tokens, unknown);
        assert!(dedup || found.fanned_out == 0);
    }
    finished.iter().map(|window| window.fanned_out).sum()
}

#[test]
fn loader_with_repeats_answers_every_sequence_by_its_own_letters_in_order() {
    let stretches = stretches();
    let source = || stretches.clone().into_iter().map(Ok);
    for (dedup, hidden_size, name) in
        [(false, 2, "off"), (true, 2, "on"), (true, 4 << 20, "a cache of four entries")]
    {
        let stream = start(source(), dedup, hidden_size);
        let ledger = Arc::clone(&stream.ledger);
        let (finished, outcome) = stream.finish_all();
        assert!(outcome.is_ok(), "{name}: {outcome:?}");
        let fanned_out = check(&stretches, &finished, dedup);
        let all: usize = stretches.iter().map(|words| 2 * words.0.len()).sum();
        let mut unique: Vec<_> =
            stretches.iter().flat_map(|words| words.0.iter().map(|word| &word[0])).collect();
        unique.sort();
        unique.dedup();
        let most = (all - 2 * unique.len()) as u64;
        match (dedup, hidden_size) {
            (false, _) => assert_eq!((fanned_out, ledger.num_kept()), (0, 0)),
            (true, 2) => assert_eq!(fanned_out, most),
            (true, _) => {
                assert!(0 < fanned_out && fanned_out < most, "{fanned_out} of {most}");
                let kept = ledger.num_kept();
                assert!(kept <= 8, "{kept} results are kept for two caches of four entries");
            }
        }
    }
}

#[test]
fn loader_flushes_the_tail_that_the_packers_hold_back() {
    let stretches = [Words::new(&["ALK", "KLA", "A"])];
    let source = stretches.clone().into_iter().map(Ok);
    let (finished, outcome) = start(source, true, 2).finish_all();
    assert!(outcome.is_ok(), "{outcome:?}");
    check(&stretches, &finished, true);
}

#[test]
fn loader_draws_no_more_than_the_ledger_admits() {
    let (announce, drawn) = std::sync::mpsc::sync_channel(1000);
    // All but the first are answered from the cache, so no queue holds the source back.
    let source = std::iter::repeat_with(move || {
        announce.send(()).unwrap();
        Ok(Words::new(&["ALK"]))
    });
    let Stream { loader, ledger, results } = start(source.take(500), true, 2);
    // Four are open, one waits for room.
    for _ in 0..5 {
        drawn.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    assert!(drawn.recv_timeout(Duration::from_millis(200)).is_err(), "a sixth was drawn");
    ledger.close();
    loader.stop();
    drop(results);
    loader.join();
}

#[test]
fn loader_source_that_panics_ends_the_stream_with_its_words() {
    let good = stretches().into_iter().take(5).map(Ok);
    let source = good.chain(std::iter::once_with(|| panic!("the disk is on fire")));
    let (finished, outcome) = start(source, true, 2).finish_all();
    let error = outcome.unwrap_err();
    let text = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(text.contains("the disk is on fire"), "{text}");
    assert!(finished.len() <= 5);
}

#[test]
fn loader_source_that_fails_keeps_what_was_finished() {
    let stretches = stretches();
    let failure = || SeqError::Panicked { what: "record 6".into(), message: "cut off".into() };
    let good = stretches.clone().into_iter().take(5).map(Ok);
    let source = good.chain(std::iter::once_with(move || Err(failure())));
    let (finished, outcome) = start(source, true, 2).finish_all();
    let error = outcome.unwrap_err();
    let text = format!("{error} {:?}", std::error::Error::source(&error));
    assert!(text.contains("cut off"), "{text}");
    check(&stretches[..finished.len()], &finished, true);
}

#[test]
fn loader_failure_is_told_before_what_came_before_it_is_computed() {
    let failure = || SeqError::Panicked { what: "record 2".into(), message: "cut off".into() };
    for panics in [false, true] {
        let good = std::iter::once_with(|| Ok(Words::new(&["ALK", "KLA"])));
        let source = good.chain(std::iter::once_with(move || {
            assert!(!panics, "cut off");
            Err(failure())
        }));
        let Stream { loader, ledger, results } = start(source, true, 2);
        // Nobody brings a result, so whoever waited for the first stretch would wait for ever.
        let told = ledger.next(Duration::from_secs(60)).err().unwrap();
        assert!(told.to_string().contains("cut off"), "{told}");
        drop(results);
        ledger.close();
        loader.stop();
        assert_eq!(loader.join().is_none(), panics);
    }
}

#[test]
fn ledger_without_a_result_that_was_asked_for_is_an_error() {
    // As many as may be open: a lost one in a longer input would hold the rest up.
    let source = stretches().into_iter().take(4).map(Ok);
    let place = |ledger: &Ledger<Words>, result: &InferenceResult| {
        result.batch_idx == 3 || ledger.place(result)
    };
    let (_, outcome) = start(source, false, 2).finish(place);
    let is_lost = matches!(outcome, Err(PipelineError::LostSequences { missing: 1.. }));
    assert!(is_lost, "{outcome:?}");
}

#[test]
fn ledger_with_a_result_that_nobody_asked_for_is_an_error() {
    let source = stretches().into_iter().map(Ok);
    let first = std::sync::Mutex::new(None);
    let place = |ledger: &Ledger<Words>, result: &InferenceResult| {
        let mut first = first.lock().unwrap();
        if result.batch_idx == 60 {
            return ledger.place(first.as_ref().unwrap());
        }
        first.get_or_insert_with(|| result.clone());
        ledger.place(result)
    };
    let (_, outcome) = start(source, false, 2).finish(place);
    let is_unknown = matches!(outcome, Err(PipelineError::UnknownSequence { .. }));
    assert!(is_unknown, "{outcome:?}");
}

#[test]
fn loader_stopped_early_gives_the_endless_source_back() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let source = std::iter::repeat_with(move || {
        let _held = &held;
        Ok(Words::new(&["ALK", "KLA", "AAA"]))
    });
    let Stream { loader, ledger, results } = start(source, false, 2);
    let first = ledger.next(Duration::ZERO);
    assert!(matches!(first, Ok(NextWindow::Waiting)), "nobody has brought a result yet");
    drop(results);
    ledger.close();
    loader.stop();
    drop(loader.join().unwrap());
    assert_eq!(Arc::strong_count(&alive), 1, "a thread still runs");
}
