//! Batches that do not fit the memory of the device.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;

use common::{Device, Manners, Model, batch, batches};
use virnucpro_runner::monitor::Monitor;
use virnucpro_runner::{AsyncInferenceRunner, InferenceResult, RunnerConfig, RunnerError};

const BATCHES: u64 = 12;

fn run(manners: Manners) -> (Vec<Result<InferenceResult, RunnerError>>, Monitor) {
    let monitor = Monitor::disabled();
    let config = RunnerConfig { monitor: monitor.clone(), ..RunnerConfig::default() };
    let device = Arc::new(Device::new(manners));
    let runner = AsyncInferenceRunner::new(Arc::new(Model), device, config).unwrap();
    (runner.run(batches(BATCHES)).unwrap().collect(), monitor)
}

fn longest_sequence() -> usize {
    (0..BATCHES).map(|k| batch(k).packed.max_seqlen()).max().unwrap()
}

#[test]
fn batch_that_does_not_fit_is_halved_with_the_same_results_and_a_warning() {
    let whole: Vec<_> = run(Manners::default()).0.into_iter().map(Result::unwrap).collect();
    let largest = (0..BATCHES).map(|k| batch(k).packed.total_tokens()).max().unwrap();
    for most_tokens in [largest - 1, longest_sequence()] {
        let (results, monitor) = run(Manners { most_tokens, ..Manners::default() });
        let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
        assert_eq!(results, whole, "at most {most_tokens} tokens");
        let summary = monitor.summary();
        assert_eq!(summary.batches, BATCHES);
        assert!(summary.warnings[0].starts_with("no memory is left; batches of more than "));
        assert!(summary.warning_count < BATCHES, "it is not said for every batch");
    }
}

#[test]
fn sequence_that_does_not_fit_alone_ends_the_run_with_the_devices_words() {
    let most_tokens = longest_sequence() - 1;
    let (results, _) = run(Manners { most_tokens, ..Manners::default() });
    let error = results.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(error.ends_with("compute failed: no memory is left"), "{error}");
}

#[test]
fn results_in_halves_that_are_not_finite_are_computed_again() {
    let first_token = |id: u64| u64::from(common::sequence(id).input_ids[0]);
    let nan = vec![(first_token(4), true), (first_token(8), false)];
    let manners = Manners { nan, most_tokens: longest_sequence(), ..Manners::default() };
    let (results, monitor) = run(manners);
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    let lost: Vec<u64> = results.iter().flat_map(|r| r.non_finite.iter().map(|id| id.0)).collect();
    assert_eq!(lost, [8]);
    assert_eq!(monitor.summary().recomputed, 2);
}

#[test]
fn sequences_that_do_not_fit_in_f32_together_are_computed_again_in_parts() {
    let first_token = |id: u64| u64::from(common::sequence(id).input_ids[0]);
    // All of batches 1 and 2, and f32 does not help number 7.
    let nan: Vec<_> = (3..9).map(|id| (first_token(id), id != 7)).collect();
    let whole: Vec<_> = run(Manners { nan: nan.clone(), ..Manners::default() }).0;
    let whole: Vec<_> = whole.into_iter().map(Result::unwrap).collect();
    let manners =
        Manners { nan: nan.clone(), most_exact_tokens: longest_sequence(), ..Manners::default() };
    let (results, monitor) = run(manners);
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    for (result, whole) in results.iter().zip(&whole) {
        assert_eq!(result.non_finite, whole.non_finite);
        let bits =
            |r: &InferenceResult| r.embeddings.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(result), bits(whole), "batch {}", whole.batch_idx);
    }
    let summary = monitor.summary();
    assert_eq!((summary.recomputed, summary.non_finite), (6, 1));
    assert!(
        summary.warnings[0].starts_with("no memory is left; second computations of more than "),
        "{summary:?}"
    );
    assert_eq!(summary.warning_count, 1, "it is not said for every batch");

    let most_exact_tokens = longest_sequence() - 1;
    let (results, _) = run(Manners { nan, most_exact_tokens, ..Manners::default() });
    let error = results.into_iter().find_map(Result::err).unwrap().to_string();
    assert!(error.ends_with("compute failed: no memory is left"), "{error}");
}

#[test]
fn result_that_was_to_stay_on_the_device_is_an_error() {
    let device = Arc::new(Device::new(Manners { most_tokens: 9, ..Manners::default() }));
    let runner =
        AsyncInferenceRunner::new(Arc::new(Model), device, RunnerConfig::default()).unwrap();
    let first = runner.run_on_device(batches(3)).unwrap().find_map(Result::err).unwrap();
    assert!(first.to_string().contains("in parts alone"), "{first}");
}

#[test]
fn failure_that_is_not_about_memory_is_not_tried_again() {
    let first_token = u64::from(batch(2).packed.input_ids()[0]);
    let (results, monitor) = run(Manners { fail: Some((1, first_token)), ..Manners::default() });
    assert_eq!(results.len(), 3);
    assert!(results[2].is_err());
    assert_eq!(monitor.summary().warning_count, 0);
}
