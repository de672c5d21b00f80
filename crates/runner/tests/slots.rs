//! Slots go round: order, reuse and overlap under delays in every stage.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use common::{Device, Event, Manners, Model, batches, embedding, sequence};
use virnucpro_runner::{AsyncInferenceRunner, CancelToken, RunnerConfig, RunnerError};

fn delays(seed: u64) -> Vec<Duration> {
    (0..13).map(|n| Duration::from_micros((n * 7919 + seed * 104_729) % 900)).collect()
}

fn with_slots(
    slots: usize,
    manners: Manners,
) -> (AsyncInferenceRunner<Model, Device>, Arc<Device>) {
    let device = Arc::new(Device::new(manners));
    let slots = NonZeroUsize::new(slots).unwrap();
    let config = RunnerConfig { slots, ..RunnerConfig::default() };
    (AsyncInferenceRunner::new(Arc::new(Model), Arc::clone(&device), config).unwrap(), device)
}

#[test]
fn delays_in_every_stage_change_neither_order_nor_values() {
    for seed in 0..4 {
        for slots in [1, 2, 3, 5] {
            let delays = [delays(seed), delays(seed + 1), delays(seed + 2)];
            let (runner, device) = with_slots(slots, Manners { delays, ..Manners::default() });
            for (k, result) in (0u64..).zip(runner.run(batches(40)).unwrap()) {
                let result = result.unwrap();
                assert_eq!(result.batch_idx, k);
                for (id, row) in result.rows() {
                    assert_eq!(row, embedding(&sequence(id.0).input_ids), "{slots} slots, {id}");
                }
            }
            assert_eq!(device.slots_opened(), slots);
        }
    }
}

#[test]
fn slot_is_filled_again_only_after_it_was_drained_and_closed_after_the_last_batch() {
    let delays = [delays(1), delays(2), delays(3)];
    let (runner, device) = with_slots(3, Manners { delays, ..Manners::default() });
    assert_eq!(runner.run(batches(60)).unwrap().map(Result::unwrap).count(), 60);
    let mut last: HashMap<usize, Event> = HashMap::new();
    let mut used: HashMap<usize, usize> = HashMap::new();
    let mut retrieved = 0;
    for event in device.events.lock().unwrap().iter() {
        let (slot, follows) = match *event {
            Event::Transfer { slot, .. } => {
                *used.entry(slot).or_default() += 1;
                (slot, matches!(last.get(&slot), None | Some(Event::Retrieve { .. })))
            }
            Event::ComputeDone { slot, sequence } => {
                (slot, last.get(&slot) == Some(&Event::Transfer { slot, sequence }))
            }
            Event::Retrieve { slot, sequence } => {
                retrieved += 1;
                (slot, last.get(&slot) == Some(&Event::ComputeDone { slot, sequence }))
            }
            Event::Close { slot } => (slot, retrieved == 60),
        };
        assert!(follows, "{event:?} after {:?}", last.get(&slot));
        last.insert(slot, event.clone());
    }
    assert_eq!(used.values().sum::<usize>(), 60);
    assert!(used.len() == 3 && used.values().all(|&times| times > 5), "{used:?}");
}

#[test]
fn stages_overlap_with_three_slots_and_never_with_one() {
    for (slots, expected) in [(1, 1), (3, 3)] {
        let millis = |n| vec![Duration::from_millis(n)];
        let delays = [millis(2), millis(4), millis(2)];
        let (runner, device) = with_slots(slots, Manners { delays, ..Manners::default() });
        assert_eq!(runner.run(batches(30)).unwrap().count(), 30);
        assert_eq!(device.overlap.load(Ordering::SeqCst), expected, "{slots} slots");
    }
}

#[test]
fn consumer_that_leaves_early_ends_all_threads() {
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let endless = (0..).map(move |k| {
        let _ = &held;
        Ok(common::batch(k))
    });
    let (runner, device) = with_slots(3, Manners::default());
    let mut results = runner.run(endless).unwrap();
    assert!(results.next().unwrap().is_ok());
    drop(results);
    assert_eq!(Arc::strong_count(&alive), 1, "the loader is still held by a thread");
    drop(runner);
    assert_eq!(Arc::strong_count(&device), 1, "the device is still held by a thread");
}

#[test]
fn consumer_that_leaves_while_results_wait_for_room_ends_all_threads() {
    let (announce, fetched) = sync_channel(1000);
    let endless = (0..).map(move |k| {
        announce.send(()).unwrap();
        Ok(common::batch(k))
    });
    let (runner, device) = with_slots(3, Manners::default());
    let mut results = runner.run(endless).unwrap();
    assert!(results.next().unwrap().is_ok());
    // One was taken, three are ready, one finds no room, three are in the slots.
    for _ in 0..8 {
        fetched.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    let (done, ended) = sync_channel(1);
    std::thread::spawn(move || {
        drop((results, runner));
        done.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(60)).expect("a thread waits for ever");
    assert_eq!(Arc::strong_count(&device), 1, "the device is still held by a thread");
}

#[test]
fn cancelled_run_ends_with_its_reason_and_no_thread() {
    let (device, cancel) = (Arc::new(Device::new(Manners::default())), CancelToken::default());
    let config = RunnerConfig { cancel: cancel.clone(), ..RunnerConfig::default() };
    let runner = AsyncInferenceRunner::new(Arc::new(Model), Arc::clone(&device), config).unwrap();
    let mut results = runner.run((0..).map(|k| Ok(common::batch(k)))).unwrap();
    assert!(results.next().unwrap().is_ok());
    cancel.cancel();
    assert!(matches!(results.next(), Some(Err(RunnerError::Cancelled))));
    assert!(results.next().is_none());
    drop((results, runner));
    assert_eq!(Arc::strong_count(&device), 1);
}
