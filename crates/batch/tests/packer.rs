//! The packer loses nothing, splits nothing, and keeps to its budget.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroUsize;

use proptest::prelude::*;
use virnucpro_batch::{
    PackedBatch, Packer, PackingMetrics, SequenceId, TokenizedSequence, pack_first_fit_decreasing,
};

fn sequences(lengths: &[usize]) -> Vec<TokenizedSequence> {
    let token = |id: usize, i: usize| (id * 31 + i) as u32;
    lengths
        .iter()
        .enumerate()
        .map(|(id, &n)| TokenizedSequence {
            sequence_id: SequenceId(id as u64),
            input_ids: (0..n).map(|i| token(id, i)).collect(),
        })
        .collect()
}

fn unpacked(batches: &[PackedBatch]) -> Vec<TokenizedSequence> {
    let mut all: Vec<_> = batches
        .iter()
        .flat_map(|batch| {
            batch.token_ranges().zip(batch.sequence_ids()).map(|(range, &sequence_id)| {
                TokenizedSequence { sequence_id, input_ids: batch.input_ids()[range].to_vec() }
            })
        })
        .collect();
    all.sort_by_key(|s| s.sequence_id);
    all
}

fn packed_by_pushing(input: &[TokenizedSequence], budget: NonZeroUsize) -> Vec<PackedBatch> {
    let mut packer = Packer::new(budget);
    let mut batches = Vec::new();
    for sequence in input {
        batches.extend(packer.push(sequence.clone()).unwrap());
    }
    batches.extend(packer.flush().unwrap());
    assert!(packer.flush().unwrap().is_empty(), "a flushed packer is empty");
    batches
}

proptest! {
    #[test]
    fn prop_packer_delivers_every_sequence_once_within_budget(
        lengths in prop::collection::vec(1usize..60, 0..400),
        budget in 1usize..120,
    ) {
        let input = sequences(&lengths);
        let budget = NonZeroUsize::new(budget).unwrap();
        let batches = packed_by_pushing(&input, budget);
        prop_assert_eq!(unpacked(&batches), input);
        let mut metrics = PackingMetrics::default();
        for batch in &batches {
            metrics.record(batch, budget.get());
            prop_assert!(batch.total_tokens() <= budget.get() || batch.num_seqs() == 1);
            prop_assert!(batch.token_ranges().all(|r| r.len() <= batch.max_seqlen()));
        }
        prop_assert_eq!(metrics.tokens as usize, lengths.iter().sum::<usize>());
        if let Some(efficiency) = metrics.packing_efficiency() {
            prop_assert!(efficiency > 0.0 && efficiency <= 1.0);
        }
    }

    #[test]
    fn prop_packing_does_not_depend_on_input_order(
        lengths in prop::collection::vec(1usize..60, 1..100), turn in any::<prop::sample::Index>(),
    ) {
        let input = sequences(&lengths);
        let mut turned = input.clone();
        turned.rotate_left(turn.index(input.len()));
        let budget = NonZeroUsize::new(64).unwrap();
        prop_assert_eq!(
            pack_first_fit_decreasing(input, budget).unwrap(),
            pack_first_fit_decreasing(turned, budget).unwrap()
        );
    }
}

#[test]
fn packing_is_first_fit_decreasing() {
    let budget = NonZeroUsize::new(10).unwrap();
    let batches = pack_first_fit_decreasing(sequences(&[3, 8, 2, 7, 25, 2, 3]), budget).unwrap();
    let ids: Vec<Vec<u64>> =
        batches.iter().map(|b| b.sequence_ids().iter().map(|id| id.0).collect()).collect();
    assert_eq!(ids, [vec![4], vec![1, 2], vec![3, 0], vec![6, 5]]);
}

#[test]
fn packer_sequence_without_tokens_is_refused_and_the_rest_kept() {
    let mut packer = Packer::new(NonZeroUsize::new(10).unwrap());
    let input = sequences(&[4, 0, 5]);
    assert!(packer.push(input[0].clone()).is_ok());
    let error = packer.push(input[1].clone()).unwrap_err();
    assert_eq!(error.to_string(), "sequence #1: no tokens");
    assert!(packer.push(input[2].clone()).is_ok());
    let batches = packer.flush().unwrap();
    assert_eq!(batches.iter().map(PackedBatch::num_seqs).sum::<usize>(), 2);
}

#[test]
fn packing_efficiency_moves_with_the_waste() {
    let mut metrics = PackingMetrics::default();
    assert_eq!(metrics.packing_efficiency(), None);
    let batch = PackedBatch::from_sequences(&sequences(&[30, 20])).unwrap();
    metrics.record(&batch, 100);
    assert_eq!(metrics.packing_efficiency(), Some(0.5));
    metrics.record(&batch, 50);
    assert_eq!(metrics.packing_efficiency(), Some(100.0 / 150.0));
    metrics.record(&batch, 40);
    assert_eq!(metrics.packing_efficiency(), Some(150.0 / 200.0), "over budget counts as full");
    assert_eq!((metrics.batches, metrics.sequences, metrics.max_seqlen), (3, 6, 30));
}

#[test]
fn end_window_holds_a_sequence_back_once_at_most() {
    let mut packer = Packer::new(NonZeroUsize::new(100).unwrap());
    let mut out = Vec::new();
    let mut take = |batches: Vec<PackedBatch>| {
        let ids = batches.iter().flat_map(|batch| batch.sequence_ids().to_vec());
        out.extend(ids.map(|id| id.0));
        out.clone()
    };
    let sequence = |id, n| TokenizedSequence { sequence_id: SequenceId(id), input_ids: vec![5; n] };
    for (id, n) in [(0, 90), (1, 95), (2, 3)] {
        assert!(packer.push(sequence(id, n)).unwrap().is_empty());
    }
    // The third fits beside the second; the first one's batch is the emptiest.
    assert_eq!(take(packer.end_window().unwrap()), [1, 2]);
    assert!(packer.push(sequence(3, 99)).unwrap().is_empty());
    assert_eq!(take(packer.end_window().unwrap()), [1, 2, 0]);
    assert_eq!(take(packer.end_window().unwrap()), [1, 2, 0, 3]);
    assert!(packer.end_window().unwrap().is_empty() && packer.flush().unwrap().is_empty());
}
