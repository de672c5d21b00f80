//! Letters to token ids, on all threads of the loader.

use std::num::NonZeroUsize;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use virnucpro_batch::{SequenceId, TokenizedSequence};
use virnucpro_runner::LoaderFailure;
use virnucpro_runner::hand_over::HandOver;
use virnucpro_runner::monitor::StageMeter;

use super::ledger::Ledger;
use super::stage::{Leader, Piece, Step};
use super::{LoaderTask, Stretch, send};
use crate::PipelineError;

/// A sequence and the encoder it is for.
pub(super) type Tokenized = (usize, TokenizedSequence);

/// The threads that tokenise.
pub(super) fn pool(threads: NonZeroUsize) -> Result<ThreadPool, PipelineError> {
    let builder = ThreadPoolBuilder::new().num_threads(threads.get());
    let builder = builder.thread_name(|number| format!("tokenize {number}"));
    builder.build().map_err(|e| std::io::Error::other(e).into())
}

/// Tokenises piece by piece, in order, until the stream ends or nobody listens.
pub(super) fn run<S: Stretch>(
    tasks: &[LoaderTask],
    pool: &ThreadPool,
    ledger: &Ledger<S>,
    pieces: &HandOver<Step<Piece<S>>>,
    tokenized: &HandOver<Step<Vec<Tokenized>>>,
    meter: &StageMeter,
) {
    while let Some(step) = meter.wait_in(|| pieces.pop()) {
        let step = match step {
            Step::Piece(piece) => {
                let args = [("sequences", piece.leaders.len() as u64)];
                meter.busy("tokenize", &args, || tokenize(tasks, pool, ledger, &piece))
            }
            Step::EndOfWindow => Step::EndOfWindow,
            Step::Failed(failure) => Step::Failed(failure),
        };
        let is_last = matches!(step, Step::Failed(_));
        if !meter.wait_out(|| send(tokenized, step)) || is_last {
            return;
        }
    }
}

fn tokenize<S: Stretch>(
    tasks: &[LoaderTask],
    pool: &ThreadPool,
    ledger: &Ledger<S>,
    Piece { stretch, leaders }: &Piece<S>,
) -> Step<Vec<Tokenized>> {
    let encode = |&Leader { id, sequence, task }: &Leader| {
        let encoding =
            tasks[task].tokenizer.encode(stretch.letters(sequence, task)).map_err(|e| {
                let record = Some(stretch.record(sequence).to_owned());
                LoaderFailure { record, source: e.into() }
            })?;
        if encoding.unknown_tokens > 0 {
            ledger.note_unknown(id, encoding.unknown_tokens as u64);
        }
        let sequence_id = SequenceId(id);
        Ok((task, TokenizedSequence { sequence_id, input_ids: encoding.input_ids }))
    };
    match pool.install(|| leaders.par_iter().map(encode).collect()) {
        Ok(tokenized) => Step::Piece(tokenized),
        Err(failure) => Step::Failed(failure),
    }
}
