//! The rules of the runner's contract, each on a device that can break it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use common::{Device, HIDDEN, Manners, Model, batch, batches, embedding, sequence};
use virnucpro_runner::monitor::{Monitor, QueueState};
use virnucpro_runner::{
    AsyncInferenceRunner, InferenceResult, LoaderFailure, Precision, RunnerConfig, RunnerError,
    Stage, StagingMemory, run_async_inference,
};

fn runner(manners: Manners) -> (AsyncInferenceRunner<Model, Device>, Arc<Device>, Monitor) {
    let (device, monitor) = (Arc::new(Device::new(manners)), Monitor::disabled());
    let config = RunnerConfig { monitor: monitor.clone(), ..RunnerConfig::default() };
    let runner = AsyncInferenceRunner::new(Arc::new(Model), Arc::clone(&device), config).unwrap();
    (runner, device, monitor)
}

fn all(manners: Manners, n: u64) -> Vec<Result<InferenceResult, RunnerError>> {
    runner(manners).0.run(batches(n)).unwrap().collect()
}

#[test]
fn results_come_in_batch_order_with_their_own_ids_and_values() {
    let results = all(Manners::default(), 50);
    assert_eq!(results.len(), 50);
    for (k, result) in (0u64..).zip(results) {
        let result = result.unwrap();
        assert_eq!((result.batch_idx, result.hidden_size), (k, HIDDEN));
        assert_eq!(&result.sequence_ids, batch(k).packed.sequence_ids());
        for (id, row) in result.rows() {
            assert_eq!(row, embedding(&sequence(id.0).input_ids), "{id}");
        }
    }
}

#[test]
fn run_async_inference_delivers_what_the_iterator_does() {
    let mut delivered = Vec::new();
    let device = Arc::new(Device::new(Manners::default()));
    let config = RunnerConfig::default();
    let n = run_async_inference(Arc::new(Model), device, batches(9), config, |r| delivered.push(r))
        .unwrap();
    let iterated: Vec<_> = all(Manners::default(), 9).into_iter().map(Result::unwrap).collect();
    assert_eq!((n, delivered), (9, iterated));
}

#[test]
fn fetch_wait_covers_a_slow_loader_and_not_a_slow_device() {
    let pause = Duration::from_millis(60);
    let (slow_loader, _, monitor) = runner(Manners::default());
    let source = batches(4).inspect(move |_| std::thread::sleep(pause));
    slow_loader.run(source).unwrap().for_each(|r| drop(r.unwrap()));
    let wait = monitor.finish().unwrap().wait;
    assert_eq!((wait.starved, wait.full, wait.normal), (4, 0, 0));
    assert_eq!(QueueState::of(pause), QueueState::Starved);

    let delays = [vec![], vec![pause], vec![]];
    let (slow_device, _, monitor) = runner(Manners { delays, ..Manners::default() });
    slow_device.run(batches(6)).unwrap().for_each(|r| drop(r.unwrap()));
    let wait = monitor.finish().unwrap().wait;
    assert_eq!(wait.starved, 0, "a wait for the device was taken for one for the loader");
}

#[test]
fn each_tensor_crosses_once_and_its_bytes_are_counted() {
    let (once, _, monitor) = runner(Manners::default());
    once.run(batches(5)).unwrap().for_each(|r| drop(r.unwrap()));
    let bytes: usize = (0..5)
        .map(|k| batch(k).packed)
        .map(|b| 4 * (2 * b.total_tokens() + b.num_seqs() + 1))
        .sum();
    assert_eq!(monitor.finish().unwrap().htod_bytes, bytes as u64);
    for (tensor, name) in ["input_ids", "cu_seqlens", "position_ids"].iter().enumerate() {
        for times in [0, 2] {
            let mut crossings = [1; 3];
            crossings[tensor] = times;
            let results = all(Manners { crossings, ..Manners::default() }, 5);
            let error = results.into_iter().next().unwrap().unwrap_err().to_string();
            assert_eq!(
                error,
                format!("batch 0: {name} crossed to the device {times} times instead of once")
            );
        }
    }
}

#[test]
fn device_without_packed_form_is_refused_before_anything_runs() {
    let manners =
        Manners { missing: Some("varlen attention with head_dim 40"), ..Manners::default() };
    let made = AsyncInferenceRunner::new(
        Arc::new(Model),
        Arc::new(Device::new(manners)),
        RunnerConfig::default(),
    );
    let Err(error) = made else { panic!("must be refused") };
    assert!(matches!(&error, RunnerError::Unsupported(_)));
    assert!(error.to_string().contains("varlen attention with head_dim 40"), "{error}");
}

#[test]
fn result_on_the_device_is_synchronised_before_it_is_read() {
    let delays = [vec![], vec![Duration::from_millis(5)], vec![]];
    let (on_device, device, _) = runner(Manners { delays, ..Manners::default() });
    let mut seen = 0u64;
    for result in on_device.run_on_device(batches(8)).unwrap() {
        let result = result.unwrap();
        let values = result.slot().result().expect("read before it was computed");
        let ids = &result.sequence_ids;
        let expected: Vec<f32> =
            ids.iter().flat_map(|id| embedding(&sequence(id.0).input_ids)).collect();
        assert_eq!((values, result.batch_idx), (expected, seen));
        seen += 1;
    }
    assert_eq!((seen, device.slots_opened()), (8, 3));
}

#[test]
fn pageable_staging_warns_once_with_what_was_measured() {
    for (staging, warnings) in
        [(StagingMemory::Pageable, 1), (StagingMemory::Pinned, 0), (StagingMemory::Host, 0)]
    {
        let (runner, _, monitor) = runner(Manners { staging, ..Manners::default() });
        runner.run(batches(6)).unwrap().for_each(|r| drop(r.unwrap()));
        let found = monitor.finish().unwrap().warnings;
        assert_eq!(found.len(), warnings, "{found:?}");
        assert!(found.iter().all(|w| w.contains("pageable") && w.contains("GB/s")), "{found:?}");
    }
}

#[test]
fn loader_failure_names_batch_and_record_after_all_results_before_it() {
    let failure = || LoaderFailure { record: Some("contig_7".into()), source: "cut off".into() };
    let source = batches(7).chain([Err(failure())]).chain(batches(3));
    let results: Vec<_> = runner(Manners::default()).0.run(source).unwrap().collect();
    assert_eq!(results.len(), 8);
    assert!(results[..7].iter().all(Result::is_ok));
    let error = results[7].as_ref().unwrap_err();
    assert!(matches!(error, RunnerError::Loader { batch_idx: 7, record: Some(_), .. }));
    assert_eq!(error.to_string(), "batch 7, record \"contig_7\": cut off");
}

#[test]
fn loader_panic_is_a_failure_with_its_message() {
    let source = batches(9).enumerate().map(|(k, item)| {
        assert!(k != 4, "no more paper");
        item
    });
    let results: Vec<_> = runner(Manners::default()).0.run(source).unwrap().collect();
    assert_eq!(results.len(), 5);
    let error = results[4].as_ref().unwrap_err().to_string();
    assert_eq!(error, "batch 4: the loader panicked: no more paper");
}

#[test]
fn device_failure_in_each_stage_names_batch_and_stage_after_the_results_before_it() {
    let first = |k: u64| u64::from(batch(k).packed.input_ids()[0]);
    for (number, stage) in [Stage::Transfer, Stage::Compute, Stage::Retrieve].iter().enumerate() {
        let results = all(Manners { fail: Some((number, first(6))), ..Manners::default() }, 20);
        assert_eq!(results.len(), 7, "{stage}");
        let error = results[6].as_ref().unwrap_err().to_string();
        assert_eq!(error, format!("batch 6: {stage} failed: stage {number} is broken"));
        let results = all(Manners { panic: Some((number, first(6))), ..Manners::default() }, 20);
        let error = results[6].as_ref().unwrap_err().to_string();
        assert_eq!(error, format!("batch 6: {stage} panicked: stage {number} fell over"));
    }
}

#[test]
fn only_sequences_that_are_not_finite_are_recomputed_in_f32() {
    let first_token = |id: u64| u64::from(sequence(id).input_ids[0]);
    let nan = vec![(first_token(4), true), (first_token(11), false)];
    let (half, device, monitor) = runner(Manners { nan: nan.clone(), ..Manners::default() });
    let results: Vec<_> = half.run(batches(6)).unwrap().map(Result::unwrap).collect();
    for result in &results {
        for (id, row) in result.rows().filter(|(id, _)| id.0 != 11) {
            assert_eq!(row, embedding(&sequence(id.0).input_ids));
        }
    }
    let not_finite: Vec<u64> = results.iter().flat_map(|r| &r.non_finite).map(|id| id.0).collect();
    assert_eq!(not_finite, [11]);
    assert_eq!(*device.recomputed.lock().unwrap(), [first_token(4), first_token(11)]);
    let summary = monitor.finish().unwrap();
    assert_eq!((summary.recomputed, summary.non_finite), (2, 1));

    let manners = Manners { nan, precision: Precision::F32, ..Manners::default() };
    let (full, device, monitor) = runner(manners);
    full.run(batches(6)).unwrap().for_each(|r| drop(r.unwrap()));
    assert!(device.recomputed.lock().unwrap().is_empty());
    assert_eq!(monitor.finish().unwrap().non_finite, 2);
}

#[test]
fn result_with_a_row_or_a_flag_too_few_is_an_error() {
    for (manners, what) in [
        (Manners { drop_a_row: true, ..Manners::default() }, "the number of values is 6"),
        (Manners { drop_a_flag: true, ..Manners::default() }, "the number of finite flags is 2"),
    ] {
        let error = all(manners, 3).into_iter().next().unwrap().unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("batch 0"), "{error}");
    }
}

#[test]
fn recomputed_result_with_a_row_or_a_flag_too_few_is_an_error() {
    let first_token = u64::from(sequence(1).input_ids[0]);
    let nan = || vec![(first_token, true)];
    for (manners, what) in [
        (
            Manners { nan: nan(), drop_a_recomputed_row: true, ..Manners::default() },
            "the number of recomputed values is 0",
        ),
        (
            Manners { nan: nan(), drop_a_recomputed_flag: true, ..Manners::default() },
            "the number of recomputed finite flags is 0",
        ),
    ] {
        let error = all(manners, 3).into_iter().next().unwrap().unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("batch 0"), "{error}");
    }
}

#[test]
fn result_lost_with_its_thread_is_an_error_and_not_the_end() {
    let first_token = u64::from(sequence(1).input_ids[0]);
    let nan = vec![(first_token, true)];
    let results = all(Manners { panics_in_precision: true, nan, ..Manners::default() }, 5);
    assert_eq!(results.len(), 1);
    let error = results[0].as_ref().unwrap_err();
    assert!(matches!(error, RunnerError::LostSequences { received: 3.., delivered: 0 }), "{error}");
}

#[test]
fn broken_clock_of_a_device_ends_the_run_with_its_cause() {
    let results = all(Manners { panics_in_stage_spans: true, ..Manners::default() }, 5);
    assert_eq!(results.len(), 1);
    let error = results[0].as_ref().unwrap_err().to_string();
    assert_eq!(error, "batch 0: retrieve panicked: the clock is broken");
}

#[test]
fn full_queue_of_results_holds_the_loader_back() {
    let (announce, fetched) = sync_channel(1000);
    let source = batches(100).inspect(move |_| announce.send(()).unwrap());
    let (runner, ..) = runner(Manners::default());
    let mut results = runner.run(source).unwrap();
    results.next().unwrap().unwrap();
    // Three slots, three results ready, one in the hands of each stage at most.
    for _ in 0..4 {
        fetched.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let mut count = 4;
    while fetched.recv_timeout(Duration::from_millis(100)).is_ok() {
        count += 1;
    }
    assert!(count <= 10, "{count} batches were fetched for one result taken");
    assert_eq!(results.count() + 1, 100);
}
