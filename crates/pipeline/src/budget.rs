//! How many tokens a packed batch holds.

use std::fmt;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::{Duration, Instant};

use virnucpro_backend::Backend;
use virnucpro_backend::cuda::{CudaBackend, CudaBatch};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{ModelError, packed_view};
use virnucpro_runner::{DEFAULT_SLOTS, EncoderTask, Encoders};

use crate::PipelineError;

/// Tokens of a packed batch on the processor unless the user says otherwise. On two cores the
/// `mini` encoders are fastest at 1,024 and 2,048 tokens and lose 6 to 8 % at 4,096, where
/// activations leave the caches (BENCHMARKS.md); the larger of the two packs a little better.
const PROCESSOR_TOKENS: NonZeroUsize = NonZeroUsize::new(2048).expect("2048 is not zero");

/// Budgets that are tried on a GPU, in tokens for each of its multiprocessors. Matrix kernels take
/// tiles of 128 x 256: with 64 tokens for each multiprocessor and layers of 512 features or a
/// multiple, the last turn of tiles is as full as the others.
const TRIED: [usize; 4] = [32, 64, 128, 256];
const LAST: usize = TRIED.len() - 1;

/// The largest budget this near to the fastest one is taken: sequences of other lengths than those
/// that are tried, and a chip under lasting load, lose more with small batches than with large ones.
const NEAR: f64 = 0.98;

/// A budget is timed for at least this long, and on as many tokens as the largest one has: a chip
/// under a load that lasts is slower, so all are given the same.
const TIMED: Duration = Duration::from_millis(50);

/// Largest budget of a GPU: every extent of its kernels then fits, and so does a batch in the
/// memory of the host.
const MOST: NonZeroUsize = NonZeroUsize::new(1 << 26).expect("2^26 is not zero");

/// Results that are alive at one time: one in each slot of the runner, and one being computed.
const RESULTS_ALIVE: usize = DEFAULT_SLOTS.get() + 1;

/// Tokens of the sequences that budgets are tried with: a chunk of 500 nucleotides has proteins
/// of 166 residues.
const TYPICAL_SEQLEN: usize = 168;

/// The token budget as the user wants it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenBudget {
    /// What suits the device.
    #[default]
    Auto,
    /// This many tokens.
    Tokens(NonZeroUsize),
}

impl FromStr for TokenBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Tokens)
            .map_err(|_| format!("{text:?} is neither auto nor a number of tokens above 0"))
    }
}

/// A budget, and how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenBudget {
    /// Tokens of a packed batch.
    pub tokens: NonZeroUsize,
    /// Why this many, in one phrase.
    pub reason: String,
}

impl fmt::Display for ChosenBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens, {}", self.tokens, self.reason)
    }
}

pub(crate) fn for_processor(wanted: TokenBudget) -> ChosenBudget {
    match wanted {
        TokenBudget::Tokens(tokens) => ChosenBudget { tokens, reason: "as asked".to_owned() },
        TokenBudget::Auto => {
            let reason = "what suits the caches of a processor".to_owned();
            ChosenBudget { tokens: PROCESSOR_TOKENS, reason }
        }
    }
}

/// Chooses the budget of a GPU and runs a batch of it through every encoder, so that all memory
/// is taken, all kernels are loaded and all plans are made before the first real batch.
pub(crate) fn for_gpu(
    backend: &CudaBackend,
    encoders: &Encoders<CudaBackend>,
    wanted: TokenBudget,
) -> Result<ChosenBudget, PipelineError> {
    let mut chosen = match wanted {
        TokenBudget::Tokens(tokens) if tokens > MOST => ChosenBudget {
            tokens: MOST,
            reason: format!("the most there is; {tokens} were asked for"),
        },
        TokenBudget::Tokens(tokens) => ChosenBudget { tokens, reason: "as asked".to_owned() },
        TokenBudget::Auto => recalled_or_found(backend, encoders)?,
    };
    loop {
        match settle(backend, encoders, chosen.tokens.get()) {
            Err(error) if error.is_out_of_memory() && chosen.tokens.get() > 1 => {
                let tokens =
                    NonZeroUsize::new(chosen.tokens.get() / 2).unwrap_or(NonZeroUsize::MIN);
                tracing::warn!(
                    "{error}; the token budget is halved from {} to {tokens}",
                    chosen.tokens
                );
                let reason = "halved until the activations fit the memory".to_owned();
                chosen = ChosenBudget { tokens, reason };
            }
            other => return other.map(|()| chosen).map_err(Into::into),
        }
    }
}

/// Makes plans and memory for batches of `tokens` tokens.
pub(crate) fn settle(
    backend: &CudaBackend,
    encoders: &Encoders<CudaBackend>,
    tokens: usize,
) -> Result<(), ModelError> {
    backend.forget_plans(true);
    // Once to make the plans, which takes memory of its own, and then to see what a batch needs.
    for alive in [1, RESULTS_ALIVE] {
        backend.release_memory()?;
        for task in &encoders.tasks {
            let batch = typical_batch(task, tokens)?;
            let batch = backend.upload(packed_view(&batch)?)?;
            let results = (0..alive).map(|_| task.compute(backend, &batch));
            let results: Vec<_> = results.collect::<Result<_, _>>()?;
            backend.synchronize()?;
            drop(results);
        }
    }
    backend.settle_memory()?;
    Ok(())
}

/// The budget that an earlier run has found for these encoders on such a device, or finds it. Runs
/// that share a cache folder then have the same one, however close the race was.
fn recalled_or_found(
    backend: &CudaBackend,
    encoders: &Encoders<CudaBackend>,
) -> Result<ChosenBudget, PipelineError> {
    let shape = |task: &EncoderTask<CudaBackend>| {
        let encoder = &task.encoder;
        let layers = encoder.num_hidden_layers();
        format!("{} x {} of {layers} layers", encoder.hidden_size(), task.layer)
    };
    let shapes: Vec<_> = encoders.tasks.iter().map(shape).collect();
    let key = format!("token budget, {NEAR} of {TRIED:?} for {}", shapes.join(" and "));
    let is_tried = |tokens: &u64| budgets(backend).iter().any(|&tried| tried as u64 == *tokens);
    let recalled = backend.recall(&key).filter(is_tried);
    if let Some(tokens) = recalled.and_then(|n| NonZeroUsize::new(usize::try_from(n).ok()?)) {
        let reason = "which an earlier run has found to suit this device".to_owned();
        return Ok(ChosenBudget { tokens, reason });
    }
    let (found, did_all_fit) = find_knee(backend, encoders)?;
    // With more memory free, another run may find a larger one.
    if did_all_fit {
        backend.remember(&key, found.tokens.get() as u64);
    }
    Ok(found)
}

fn budgets(backend: &CudaBackend) -> [usize; TRIED.len()] {
    TRIED.map(|each| each * backend.properties().multiprocessors)
}

/// The largest budget at which every encoder is about as fast as it gets, and whether all that are
/// tried fit the memory.
fn find_knee(
    backend: &CudaBackend,
    encoders: &Encoders<CudaBackend>,
) -> Result<(ChosenBudget, bool), PipelineError> {
    let mut tried = Vec::new();
    let mut rates: Vec<Vec<f64>> = Vec::new();
    // Largest first: it is the first to run out of memory, and what warms the chip up.
    let budgets = budgets(backend);
    for tokens in budgets.into_iter().rev() {
        backend.forget_plans(false);
        let timed: Result<Vec<f64>, ModelError> = encoders
            .tasks
            .iter()
            .map(|task| {
                tokens_per_second(backend, task, &typical_batch(task, tokens)?, budgets[LAST])
            })
            .collect();
        match timed {
            Ok(timed) => {
                tried.insert(0, tokens);
                rates.insert(0, timed);
            }
            Err(error) if error.is_out_of_memory() => {
                backend.release_memory().map_err(ModelError::from)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if rates.is_empty() {
        // Whoever settles it finds out how much less fits.
        let tokens = NonZeroUsize::new(budgets[0]).unwrap_or(MOST);
        let reason = "the least that is tried".to_owned();
        return Ok((ChosenBudget { tokens, reason }, false));
    }
    let at = knee(&rates);
    let tokens = NonZeroUsize::new(tried[at]).unwrap_or(MOST);
    let shown: Vec<_> = rates[at].iter().map(|rate| format!("{:.0} k", rate / 1e3)).collect();
    let reason = format!(
        "the most that runs at {:.0} % of the best rate ({} tokens/s)",
        NEAR * 100.0,
        shown.join(" and ")
    );
    Ok((ChosenBudget { tokens, reason }, tried.len() == budgets.len()))
}

/// Place of the last row of rates in which every encoder is near its best.
fn knee(rates: &[Vec<f64>]) -> usize {
    let is_near = |rates_here: &Vec<f64>| {
        rates_here.iter().enumerate().all(|(task, rate)| {
            let best = rates.iter().map(|row| row[task]).fold(0.0, f64::max);
            *rate >= NEAR * best
        })
    };
    rates.iter().rposition(is_near).unwrap_or(rates.len().saturating_sub(1))
}

/// Rate of a batch that is computed again and again, on at least so many tokens, after a third of
/// the work that is not timed.
fn tokens_per_second(
    backend: &CudaBackend,
    task: &EncoderTask<CudaBackend>,
    batch: &PackedBatch,
    least_tokens: usize,
) -> Result<f64, ModelError> {
    let on_device = backend.upload(packed_view(batch)?)?;
    let run =
        |least_tokens: usize, least_time: Duration| -> Result<(usize, Duration), ModelError> {
            let start = Instant::now();
            let mut tokens = 0;
            while tokens < least_tokens || start.elapsed() < least_time {
                compute(backend, task, &on_device)?;
                tokens += batch.total_tokens();
            }
            Ok((tokens, start.elapsed()))
        };
    run(least_tokens / 2, TIMED / 2)?;
    let (tokens, elapsed) = run(least_tokens, TIMED)?;
    Ok(tokens as f64 / elapsed.as_secs_f64())
}

/// Computes a batch and throws the result away.
fn compute(
    backend: &CudaBackend,
    task: &EncoderTask<CudaBackend>,
    batch: &CudaBatch,
) -> Result<(), ModelError> {
    let result = task.compute(backend, batch)?;
    backend.synchronize()?;
    drop(result);
    Ok(())
}

/// Sequences of typical length that fill a batch of `tokens` tokens.
fn typical_batch(
    task: &EncoderTask<CudaBackend>,
    tokens: usize,
) -> Result<PackedBatch, ModelError> {
    // Without the last one, which is <mask> in ESM-2 and rare.
    let vocab = task.encoder.vocab_size() as u64 - 1;
    let mut sequences = Vec::new();
    let mut left = tokens;
    while left > 0 {
        let seqlen = left.min(TYPICAL_SEQLEN);
        let first = sequences.len() as u64;
        let id = |position: u64| ((first * 31 + position * 7) % vocab) as u32;
        let input_ids = (0..seqlen as u64).map(id).collect();
        sequences.push(TokenizedSequence { sequence_id: SequenceId(first), input_ids });
        left -= seqlen;
    }
    Ok(PackedBatch::from_sequences(&sequences)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_budget_text_is_auto_or_a_positive_number() {
        assert_eq!("auto".parse(), Ok(TokenBudget::Auto));
        let tokens = NonZeroUsize::new(16_384).unwrap();
        assert_eq!("16384".parse(), Ok(TokenBudget::Tokens(tokens)));
        for wrong in ["0", "-1", "many", ""] {
            assert!(wrong.parse::<TokenBudget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn knee_is_where_no_encoder_has_become_slower_yet() {
        let rates = [vec![50.0, 99.0], vec![98.5, 100.0], vec![99.5, 99.2], vec![100.0, 96.0]];
        assert_eq!(knee(&rates), 2, "the second encoder is slower in the last row");
        assert_eq!(knee(&rates[..2]), 1);
        assert_eq!(knee(&rates[..1]), 0);
        assert_eq!(knee(&[vec![100.0, 60.0], vec![60.0, 100.0]]), 1, "none is near for both");
    }

    #[test]
    fn for_processor_takes_what_was_asked() {
        let tokens = NonZeroUsize::new(7).unwrap();
        assert_eq!(for_processor(TokenBudget::Tokens(tokens)).tokens, tokens);
        assert_eq!(for_processor(TokenBudget::Auto).tokens, PROCESSOR_TOKENS);
    }
}
