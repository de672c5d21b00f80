//! From stretches of input to packed batches: dedup, tokenize and pack, a thread each.
//!
//! Owns the bounded queues between these threads. The order of the input is kept throughout, so
//! the batches of a run depend on its input and settings alone. Entry type: [`Loader`].

mod dedup;
mod ledger;
mod pack;
mod stage;
#[cfg(test)]
mod tests;
mod tokenize;

use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use virnucpro_batch::SequenceTokenizer;
use virnucpro_runner::hand_over::HandOver;
use virnucpro_runner::monitor::Monitor;
use virnucpro_runner::{InferenceBatch, LoaderFailure};
use virnucpro_seq::SeqError;

use crate::PipelineError;
use stage::{Piece, Step};
use tokenize::Tokenized;

pub(crate) use ledger::{Finished, Ledger, NextWindow};

/// A bounded stretch of the input, whose sequences every encoder embeds in its own alphabet.
pub(crate) trait Stretch: Send + Sync + 'static {
    /// Number of sequences; each has letters for every encoder.
    fn num_sequences(&self) -> usize;
    /// What encoder number `task` reads of a sequence.
    fn letters(&self, sequence: usize, task: usize) -> &[u8];
    /// Id of the record that a sequence comes from.
    fn record(&self, sequence: usize) -> &str;
    /// Letters of the input that this stretch covers.
    fn input_letters(&self) -> u64;
}

/// An encoder as the loader sees it.
pub(crate) struct LoaderTask {
    pub(crate) name: Arc<str>,
    pub(crate) tokenizer: Box<dyn SequenceTokenizer>,
    pub(crate) token_budget: NonZeroUsize,
    /// Width of its embeddings, for the size of the cache.
    pub(crate) hidden_size: usize,
    /// Whether a sequence has one embedding, not one a token.
    pub(crate) is_pooled: bool,
}

/// Settings of the loader.
pub(crate) struct LoaderConfig {
    pub(crate) threads: NonZeroUsize,
    pub(crate) dedup: bool,
    pub(crate) monitor: Monitor,
}

/// Items waiting between two threads of the loader.
const QUEUE_ITEMS: usize = 4;

type Item = Result<InferenceBatch, LoaderFailure>;

/// The queues between the threads.
struct Queues<S> {
    unique: Arc<HandOver<Step<Piece<S>>>>,
    tokenized: Arc<HandOver<Step<Vec<Tokenized>>>>,
    packed: Arc<HandOver<Item>>,
}

/// The threads of the loader.
pub(crate) struct Loader<I, S> {
    queues: Queues<S>,
    source: Option<JoinHandle<Option<I>>>,
    threads: Vec<JoinHandle<Option<()>>>,
}

/// The batches of a loader.
pub(crate) struct Batches(Arc<HandOver<Item>>);

impl Iterator for Batches {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        self.0.pop()
    }
}

impl<I, S> Loader<I, S>
where
    I: Iterator<Item = Result<S, SeqError>> + Send + 'static,
    S: Stretch,
{
    /// Starts the threads; every stretch of `source` is admitted to `ledger`.
    pub(crate) fn start(
        source: I,
        tasks: Vec<LoaderTask>,
        ledger: &Arc<Ledger<S>>,
        config: LoaderConfig,
    ) -> Result<(Self, Batches), PipelineError> {
        let LoaderConfig { threads, dedup, monitor } = config;
        let meters = stage::Meters::register(&monitor, threads.get());
        let unique = queue(&monitor, "unique sequences");
        let tokenized = queue(&monitor, "tokenized");
        let packed = queue(&monitor, "batches");
        let (from, to) = (Arc::clone(&unique), Arc::clone(&tokenized));
        let (last, batches) = (Arc::clone(&tokenized), Arc::clone(&packed));
        let queues = Queues { unique, tokenized, packed };
        let tasks = Arc::new(tasks);
        let mut loader = Self { queues, source: None, threads: Vec::new() };

        let deduplicator = dedup.then(|| dedup::Deduplicator::new(&tasks));
        let (admit, num_tasks) = (Arc::clone(ledger), tasks.len());
        let out = Arc::clone(&from);
        loader.source = Some(spawn("dedup", &from, ledger, move || {
            dedup::run(source, deduplicator, num_tasks, &admit, &out, &meters.dedup)
        })?);
        let (known, pool) = (Arc::clone(&tasks), tokenize::pool(threads)?);
        let (noted, out) = (Arc::clone(ledger), Arc::clone(&to));
        let tokenize = spawn("tokenize", &to, ledger, move || {
            tokenize::run(&known, &pool, &noted, &from, &out, &meters.tokenize);
        })?;
        loader.threads.push(tokenize);
        let out = Arc::clone(&batches);
        let pack = spawn("pack", &batches, ledger, move || {
            pack::run(&tasks, &last, &out, &meters.pack);
        })?;
        loader.threads.push(pack);
        Ok((loader, Batches(batches)))
    }

    /// Ends every thread as soon as its work in progress is done.
    pub(crate) fn stop(&self) {
        self.queues.unique.abandon();
        self.queues.tokenized.abandon();
        self.queues.packed.abandon();
    }

    /// Waits for all threads and gives the source back, unless drawing from it panicked.
    pub(crate) fn join(mut self) -> Option<I> {
        let source = self.source.take().and_then(|thread| thread.join().ok().flatten());
        for thread in self.threads.drain(..) {
            // Panics were caught and delivered as failures.
            let _ = thread.join();
        }
        source
    }
}

fn queue<T: Send + 'static>(monitor: &Monitor, name: &str) -> Arc<HandOver<T>> {
    let queue = Arc::new(HandOver::new(QUEUE_ITEMS));
    let watched = Arc::clone(&queue);
    monitor.queue(name, QUEUE_ITEMS, move || watched.len());
    queue
}

/// Starts a thread that fills `queue` and closes it at its end; its panic fails the ledger.
fn spawn<R: Send + 'static, T: Send + 'static, S: Stretch>(
    name: &'static str,
    queue: &Arc<HandOver<T>>,
    ledger: &Arc<Ledger<S>>,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<Option<R>>, PipelineError> {
    let (queue, ledger) = (Arc::clone(queue), Arc::clone(ledger));
    let guarded = move || {
        let outcome = panic::catch_unwind(AssertUnwindSafe(work));
        if let Err(payload) = &outcome {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            let (what, message) = (name.to_owned(), text.unwrap_or_default());
            ledger.fail(SeqError::Panicked { what, message }.into());
        }
        queue.close();
        outcome.ok()
    };
    Ok(thread::Builder::new().name(name.into()).spawn(guarded)?)
}

/// Sends; `false` once nobody listens.
fn send<T>(queue: &HandOver<T>, item: T) -> bool {
    queue.push(item).is_ok()
}
