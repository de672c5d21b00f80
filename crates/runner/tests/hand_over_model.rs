//! Every interleaving of the hand-over in small cases:
//! `cargo test -p virnucpro-runner --features loom --test hand_over_model`.
#![cfg(feature = "loom")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use loom::sync::Arc;
use loom::thread;
use virnucpro_runner::hand_over::HandOver;

/// Slots go from the free queue through one stage and back; order holds and no wake-up is lost.
fn round_trip(slots: usize, batches: u32) {
    loom::model(move || {
        let free = Arc::new(HandOver::new(slots));
        let filled = Arc::new(HandOver::new(slots + 1));
        for slot in 0..slots {
            free.push(slot).unwrap();
        }
        let (take, give) = (Arc::clone(&free), Arc::clone(&filled));
        let transfer = thread::spawn(move || {
            for batch in 0..batches {
                let slot = take.pop().unwrap();
                give.push((batch, slot)).unwrap();
            }
            give.close();
        });
        let mut expected = 0;
        while let Some((batch, slot)) = filled.pop() {
            assert_eq!(batch, expected);
            expected += 1;
            free.push(slot).unwrap();
        }
        assert_eq!(expected, batches);
        transfer.join().unwrap();
        assert_eq!(free.len(), slots);
    });
}

#[test]
fn hand_over_one_slot_keeps_order_and_loses_no_wake_up() {
    round_trip(1, 2);
}

#[test]
fn hand_over_two_slots_keep_order_and_lose_no_wake_up() {
    round_trip(2, 2);
}

#[test]
fn hand_over_full_queue_holds_its_producer_back() {
    loom::model(|| {
        let queue = Arc::new(HandOver::new(1));
        let give = Arc::clone(&queue);
        let producer = thread::spawn(move || {
            for item in 0..2 {
                give.push(item).unwrap();
                assert!(give.len() <= 1);
            }
        });
        assert_eq!((queue.pop(), queue.pop()), (Some(0), Some(1)));
        producer.join().unwrap();
    });
}

#[test]
fn hand_over_abandoned_queue_frees_both_sides() {
    loom::model(|| {
        let queue = Arc::new(HandOver::new(1));
        let (give, take) = (Arc::clone(&queue), Arc::clone(&queue));
        let producer = thread::spawn(move || give.push(1).and_then(|()| give.push(2)).is_err());
        let consumer = thread::spawn(move || while take.pop().is_some() {});
        queue.abandon();
        producer.join().unwrap();
        consumer.join().unwrap();
        assert!(queue.is_empty());
        assert_eq!(queue.push(3), Err(3));
    });
}
