//! The runner on a GPU: several encoders, ragged batches, slots that are used again, results that
//! overflow f16, and budgets that do not fit.
//!
//! Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1`, a missing one fails; elsewhere the tests say
//! what is missing and end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::cuda::{CudaBackend, CudaOptions};
use virnucpro_backend::selftest::Random;
use virnucpro_backend::tolerance::{BATCH_INVARIANT, EMBEDDING_F16, EMBEDDING_F32};
use virnucpro_backend::{Backend, Precision};
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{EncoderConfig, EncoderSource, Pooling, PublishedSize};
use virnucpro_pipeline::{
    BenchConfig, CancelToken, Device, DeviceChoice, DeviceConfig, Monitor, TokenBudget, bench,
};
use virnucpro_runner::{
    AsyncInferenceRunner, CudaDevice, EncoderTask, Encoders, HostDevice, InferenceBatch,
    InferenceResult, RunnerConfig,
};
use virnucpro_weights::Checkpoint;

fn open(precision: Precision) -> Option<Arc<CudaBackend>> {
    match CudaBackend::open(&CudaOptions { precision, ..CudaOptions::default() }) {
        Ok(backend) => Some(Arc::new(backend)),
        Err(error) if std::env::var_os("VIRNUCPRO_TEST_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn random_source(name: &str) -> EncoderSource {
    let config = name.parse::<PublishedSize>().unwrap().config().unwrap();
    EncoderSource::random(name, config, 4).unwrap()
}

fn task<B: Backend>(backend: &B, source: &EncoderSource, pooling: Pooling) -> EncoderTask<B> {
    let encoder = source.load(backend).unwrap();
    EncoderTask { layer: encoder.num_hidden_layers(), encoder, pooling }
}

fn batch(task: usize, sequences: Vec<Vec<u32>>, first_id: u64) -> InferenceBatch {
    let sequences: Vec<_> = sequences
        .into_iter()
        .zip(first_id..)
        .map(|(input_ids, id)| TokenizedSequence { sequence_id: SequenceId(id), input_ids })
        .collect();
    let packed = PackedBatch::from_sequences(&sequences).unwrap();
    InferenceBatch { task, task_name: "test".into(), ..InferenceBatch::new(packed, 4096) }
}

/// Batches of very different sizes, the two encoders in turn.
fn ragged_batches(count: u64) -> Vec<InferenceBatch> {
    let mut random = Random::new(8);
    (0..count)
        .map(|number| {
            let sequences = (0..1 + random.below(40))
                .map(|_| {
                    let length = 1 + random.below(300);
                    (0..length).map(|_| 4 + random.below(20) as u32).collect()
                })
                .collect();
            batch((number % 2) as usize, sequences, 1000 * number)
        })
        .collect()
}

fn never() -> virnucpro_runner::LoadExact {
    Box::new(|| Err("nothing overflows here".into()))
}

fn run_on_gpu(
    backend: &Arc<CudaBackend>,
    model: &Arc<Encoders<CudaBackend>>,
    batches: Vec<InferenceBatch>,
    slots: usize,
) -> Vec<InferenceResult> {
    let device = Arc::new(CudaDevice::new(Arc::clone(backend), 16, never()).unwrap());
    let config =
        RunnerConfig { slots: NonZeroUsize::new(slots).unwrap(), ..RunnerConfig::default() };
    let runner = AsyncInferenceRunner::new(Arc::clone(model), device, config).unwrap();
    runner.run(batches.into_iter().map(Ok)).unwrap().map(Result::unwrap).collect()
}

#[test]
fn gpu_runner_slots_used_again_give_every_batch_its_own_result() {
    let Some(backend) = open(Precision::F16) else { return };
    let sources = [random_source("esm2-8m"), random_source("dnabert-s")];
    for pooling in [Pooling::Mean, Pooling::Bos, Pooling::None] {
        let load = |source| task(&*backend, source, pooling);
        let model = Arc::new(Encoders { tasks: sources.iter().map(load).collect() });
        let one = run_on_gpu(&backend, &model, ragged_batches(24), 1);
        let three = run_on_gpu(&backend, &model, ragged_batches(24), 3);
        assert_eq!(one, three, "{pooling:?}: the number of slots must not matter");
        let cpu = Arc::new(CpuBackend::new(0).unwrap());
        let load = |source| task(&*cpu, source, pooling);
        let expected = Encoders { tasks: sources.iter().map(load).collect() };
        let host = HostDevice::new(Arc::clone(&cpu));
        for (result, batch) in three.iter().zip(ragged_batches(24)).take(6) {
            let width = result.hidden_size;
            let expected = expected.compute_now(&host, batch.task, &batch.packed).unwrap();
            let outcome = EMBEDDING_F16.check(&result.embeddings, &expected.embeddings, width);
            // Single tokens are not averaged, so their differences are those of a token.
            let is_close = match (outcome, pooling) {
                (Ok(_), _) => true,
                (Err(found), Pooling::Mean) => panic!("batch {}: {found}", result.batch_idx),
                (Err(found), _) => found.min_cosine > 0.9999,
            };
            assert!(is_close, "{pooling:?} {outcome:?}");
        }
    }
}

#[test]
fn gpu_runner_results_that_stay_on_the_device_are_those_that_are_retrieved() {
    let Some(backend) = open(Precision::F16) else { return };
    let sources = [random_source("esm2-8m"), random_source("dnabert-s")];
    let load = |source| task(&*backend, source, Pooling::Mean);
    let model = Arc::new(Encoders { tasks: sources.iter().map(load).collect() });
    let retrieved = run_on_gpu(&backend, &model, ragged_batches(9), 3);
    let device = Arc::new(CudaDevice::new(Arc::clone(&backend), 16, never()).unwrap());
    let runner = AsyncInferenceRunner::new(model, device, RunnerConfig::default()).unwrap();
    let mut count = 0;
    for (result, expected) in
        runner.run_on_device(ragged_batches(9).into_iter().map(Ok)).unwrap().zip(&retrieved)
    {
        let result = result.unwrap();
        let on_device = result.slot().result().unwrap();
        assert_eq!(backend.download(on_device).unwrap(), expected.embeddings);
        count += 1;
    }
    assert_eq!(count, 9);
}

/// The token whose embedding is not random.
const ODD: u32 = 9;

/// A small ESM-2 with random weights and another embedding for one token: column to f16 bits.
fn source_with_odd_token(
    hidden_size: usize,
    heads: usize,
    bits_of: impl Fn(usize) -> u16,
) -> EncoderSource {
    let config = serde_json::json!({
        "model_type": "esm", "num_hidden_layers": 6, "hidden_size": hidden_size, "vocab_size": 33,
        "num_attention_heads": heads, "intermediate_size": 4 * hidden_size, "layer_norm_eps": 1e-5,
        "token_dropout": true, "position_embedding_type": "rotary",
    });
    let config = config.to_string().into_bytes();
    let random =
        EncoderSource::random("odd", EncoderConfig::from_json("odd", &config).unwrap(), 4).unwrap();
    let checkpoint = random.checkpoint();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for name in checkpoint.names() {
        let view = checkpoint.get(name).unwrap();
        let start = data.len();
        data.extend_from_slice(view.data());
        if name.ends_with("word_embeddings.weight") {
            let row = 2 * hidden_size;
            let place = start + ODD as usize * row;
            for (column, value) in data[place..place + row].chunks_exact_mut(2).enumerate() {
                value.copy_from_slice(&bits_of(column).to_le_bytes());
            }
        }
        let entry = serde_json::json!({
            "dtype": "F16", "shape": view.shape(), "data_offsets": [start, data.len()],
        });
        header.insert(name.to_owned(), entry);
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    let checkpoint = Checkpoint::from_bytes("odd", file.into()).unwrap();
    EncoderSource::from_parts("odd", config.into(), checkpoint, None).unwrap()
}

/// An encoder in which the odd token leaves f16 once token dropout scales it up.
fn overflowing_source() -> EncoderSource {
    // 60,000 and 1; times 0.88 both still fit.
    source_with_odd_token(320, 20, |column| if column % 2 == 0 { 0x7b53 } else { 0x3c00 })
}

/// Runs batches of `sequences` in f16 and holds them against the processor; `again` are those that
/// have to be computed again in f32.
fn check_recomputed(
    backend: &Arc<CudaBackend>,
    source: EncoderSource,
    sequences: &[Vec<u32>],
    again: &[usize],
) {
    let source = Arc::new(source);
    let width = source.config().hidden_size();
    let loads = Arc::new(AtomicUsize::new(0));
    let (counted, exact_source) = (Arc::clone(&loads), Arc::clone(&source));
    let load_exact: virnucpro_runner::LoadExact = Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
        let cpu = Arc::new(CpuBackend::new(0)?);
        let encoders = Encoders { tasks: vec![task(&*cpu, &exact_source, Pooling::Mean)] };
        let host = HostDevice::new(cpu);
        Ok(Box::new(move |task, batch| encoders.compute_now(&host, task, batch)))
    });
    let model = Arc::new(Encoders { tasks: vec![task(&**backend, &source, Pooling::Mean)] });
    let device = Arc::new(CudaDevice::new(Arc::clone(backend), 16, load_exact).unwrap());
    let monitor = Monitor::disabled();
    let config = RunnerConfig { monitor: monitor.clone(), ..RunnerConfig::default() };
    let runner = AsyncInferenceRunner::new(model, device, config).unwrap();
    let batches: Vec<_> = (0..3).map(|n| Ok(batch(0, sequences.to_vec(), 10 * n))).collect();
    let results: Vec<_> = runner.run(batches).unwrap().map(Result::unwrap).collect();
    let expected = usize::from(!again.is_empty());
    assert_eq!(loads.load(Ordering::SeqCst), expected, "f32 encoders are loaded once, if at all");
    let recomputed = 3 * again.len() as u64;
    assert_eq!((monitor.summary().recomputed, monitor.summary().non_finite), (recomputed, 0));
    let cpu = Arc::new(CpuBackend::new(0).unwrap());
    let expected = Encoders { tasks: vec![task(&*cpu, &source, Pooling::Mean)] };
    let expected = expected
        .compute_now(&HostDevice::new(cpu), 0, &batch(0, sequences.to_vec(), 0).packed)
        .unwrap()
        .embeddings;
    for result in results {
        assert!(result.non_finite.is_empty());
        for (sequence, ids) in sequences.iter().enumerate() {
            let row = sequence * width..(sequence + 1) * width;
            let (found, expected) = (&result.embeddings[row.clone()], &expected[row]);
            if again.contains(&sequence) {
                BATCH_INVARIANT.check(found, expected, width).unwrap();
            } else if !ids.contains(&ODD) {
                EMBEDDING_F16.check(found, expected, width).unwrap();
            }
        }
    }
}

#[test]
fn gpu_runner_sequences_that_overflow_f16_are_computed_again_in_f32() {
    const MASK: u32 = 32;
    let Some(backend) = open(Precision::F16) else { return };
    let sequences = [
        vec![0, 5, 6, 7, 2],
        vec![0, ODD, ODD, ODD, 2],
        // Half of it masked: the other half is scaled by 0.88 / 0.5.
        vec![0, ODD, MASK, MASK, MASK, 2],
        vec![0, 8, 7, 6, 5, 4, 2],
    ];
    check_recomputed(&backend, overflowing_source(), &sequences, &[2]);
}

/// A row whose mean is far above its deviation is given up where a LayerNorm is folded into the layer
/// behind it, and only there.
#[test]
fn gpu_runner_sequences_with_far_means_are_computed_again_in_f32() {
    let Some(backend) = open(Precision::F16) else { return };
    let is_folded = backend.properties().capability == (9, 0);
    let again: &[usize] = if is_folded { &[1, 3] } else { &[] };
    let sequences = [vec![0, 5, 6, 7, 2], vec![0, 5, ODD, 2], vec![0, 8, 7, 6, 2], vec![ODD; 70]];
    // 1 and 1 + 1/64: a mean of 129 deviations.
    let bits_of = |column| if column % 2 == 0 { 0x3c00 } else { 0x3c10 };
    // Norms in front of q, k and v as well as of the feed-forward network, and of that alone.
    for (hidden_size, heads) in [(256, 4), (320, 20)] {
        let source = source_with_odd_token(hidden_size, heads, bits_of);
        check_recomputed(&backend, source, &sequences, again);
    }
}

#[test]
fn gpu_f32_needs_no_second_computation() {
    let Some(backend) = open(Precision::F32) else { return };
    let source = overflowing_source();
    let model = Arc::new(Encoders { tasks: vec![task(&*backend, &source, Pooling::Mean)] });
    let batches = || vec![batch(0, vec![vec![0, 9, 32, 32, 32, 2]], 0)];
    let results = run_on_gpu(&backend, &model, batches(), 3);
    let cpu = Arc::new(CpuBackend::new(0).unwrap());
    let expected = Encoders { tasks: vec![task(&*cpu, &source, Pooling::Mean)] };
    let expected =
        expected.compute_now(&HostDevice::new(cpu), 0, &batches()[0].packed).unwrap().embeddings;
    EMBEDDING_F32.check(&results[0].embeddings, &expected, 320).unwrap();
}

#[test]
fn gpu_budget_that_does_not_fit_is_halved_until_it_does() {
    let config = DeviceConfig { choice: DeviceChoice::Cuda(0), ..DeviceConfig::default() };
    if open(Precision::F16).is_none() {
        return;
    }
    let device = Device::open(&config).unwrap();
    let config = BenchConfig {
        model: "esm2-8m".parse().unwrap(),
        lengths: "fixed:168".parse().unwrap(),
        tokens: NonZeroUsize::new(100_000).unwrap(),
        passes: NonZeroUsize::MIN,
        token_budget: TokenBudget::Tokens(NonZeroUsize::new(1 << 25).unwrap()),
    };
    let monitor = || Ok(Monitor::disabled());
    let report = bench(&config, &device, &CancelToken::default(), monitor).unwrap();
    assert!(report.token_budget < 1 << 25, "{}", report.token_budget);
    assert!(report.token_budget_reason.contains("halved"), "{}", report.token_budget_reason);
    assert!(report.tokens >= 100_000 && report.tokens_per_second > 0.0);
}

#[test]
fn gpu_budget_is_found_once_and_recalled_from_the_cache() {
    if open(Precision::F16).is_none() {
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    let report = || {
        let config = DeviceConfig {
            choice: DeviceChoice::Cuda(0),
            cache_dir: Some(cache.path().to_owned()),
            ..DeviceConfig::default()
        };
        let config_of_bench = BenchConfig {
            model: "esm2-8m".parse().unwrap(),
            lengths: "fixed:168".parse().unwrap(),
            tokens: NonZeroUsize::new(100_000).unwrap(),
            passes: NonZeroUsize::MIN,
            token_budget: TokenBudget::Auto,
        };
        let device = Device::open(&config).unwrap();
        let monitor = || Ok(Monitor::disabled());
        bench(&config_of_bench, &device, &CancelToken::default(), monitor).unwrap()
    };
    let (first, second) = (report(), report());
    assert!(first.token_budget_reason.contains("best rate"), "{}", first.token_budget_reason);
    assert!(second.token_budget_reason.contains("earlier run"), "{}", second.token_budget_reason);
    assert_eq!(first.token_budget, second.token_budget);
}
