//! Token ids to packed batches, a packer for each encoder.

use virnucpro_batch::{BatchError, PackedBatch, Packer};
use virnucpro_runner::hand_over::HandOver;
use virnucpro_runner::monitor::StageMeter;
use virnucpro_runner::{InferenceBatch, LoaderFailure};

use super::stage::Step;
use super::tokenize::Tokenized;
use super::{Item, LoaderTask, send};

/// Packs until the stream ends or nobody listens; what is in the packers at the end is flushed,
/// also before a failure.
pub(super) fn run(
    tasks: &[LoaderTask],
    tokenized: &HandOver<Step<Vec<Tokenized>>>,
    batches: &HandOver<Item>,
    meter: &StageMeter,
) {
    let mut packers: Vec<_> = tasks.iter().map(|task| Packer::new(task.token_budget)).collect();
    let deliver = |packed: Result<Vec<(usize, PackedBatch)>, BatchError>| match packed {
        Ok(packed) => packed.into_iter().all(|(task, packed)| {
            let LoaderTask { name, token_budget, .. } = &tasks[task];
            let task_name = name.clone();
            let token_budget = token_budget.get();
            let batch = InferenceBatch { packed, task, task_name, token_budget };
            meter.wait_out(|| send(batches, Ok(batch)))
        }),
        Err(error) => {
            send(batches, Err(LoaderFailure { record: None, source: error.into() }));
            false
        }
    };
    let failure = loop {
        let packed = match meter.wait_in(|| tokenized.pop()) {
            Some(Step::Piece(sequences)) => {
                meter.busy("pack", &[], || push(&mut packers, sequences))
            }
            Some(Step::EndOfWindow) => {
                meter.busy("pack", &[], || each(&mut packers, Packer::end_window))
            }
            Some(Step::Failed(failure)) => break Some(failure),
            None => break None,
        };
        if !deliver(packed) {
            return;
        }
    };
    if deliver(each(&mut packers, Packer::flush))
        && let Some(failure) = failure
    {
        send(batches, Err(failure));
    }
}

fn push(
    packers: &mut [Packer],
    sequences: Vec<Tokenized>,
) -> Result<Vec<(usize, PackedBatch)>, BatchError> {
    let mut packed = Vec::new();
    for (task, sequence) in sequences {
        packed.extend(packers[task].push(sequence)?.into_iter().map(|batch| (task, batch)));
    }
    Ok(packed)
}

fn each(
    packers: &mut [Packer],
    take: impl Fn(&mut Packer) -> Result<Vec<PackedBatch>, BatchError>,
) -> Result<Vec<(usize, PackedBatch)>, BatchError> {
    let mut packed = Vec::new();
    for (task, packer) in packers.iter_mut().enumerate() {
        packed.extend(take(packer)?.into_iter().map(|batch| (task, batch)));
    }
    Ok(packed)
}
