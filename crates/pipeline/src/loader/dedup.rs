//! Finding sequences that were seen before, and numbering the rest.

use std::sync::Arc;

use lru::LruCache;
use virnucpro_runner::hand_over::HandOver;
use virnucpro_runner::monitor::StageMeter;
use virnucpro_seq::SeqError;

use super::ledger::{Admission, Ledger};
use super::stage::{Leader, Piece, Step};
use super::{LoaderTask, Stretch, send};

/// Letters and embeddings kept for each encoder: enough for some tens of thousands of sequences of
/// the small encoders and some thousands of the largest.
const CACHE_BYTES: usize = 64 << 20;

/// What an entry takes beside its letters and its embedding.
const ENTRY_BYTES: usize = 192;

/// Sequences that are tokenised together; small, so that the first batch is soon there.
const PIECE_SEQUENCES: usize = 256;

/// Remembers the sequences that were lately seen, for each encoder.
///
/// Which ones are remembered depends on the order of the input alone.
pub(super) struct Deduplicator {
    tasks: Vec<Recent>,
}

struct Recent {
    ids: LruCache<Box<[u8]>, u64>,
    bytes: usize,
    row_bytes: usize,
    is_pooled: bool,
}

impl Deduplicator {
    pub(super) fn new(tasks: &[LoaderTask]) -> Self {
        let recent = |task: &LoaderTask| Recent {
            ids: LruCache::unbounded(),
            bytes: 0,
            row_bytes: 4 * task.hidden_size,
            is_pooled: task.is_pooled,
        };
        Self { tasks: tasks.iter().map(recent).collect() }
    }
}

impl Recent {
    /// The id that these letters were first seen with, or `None` and they are remembered as `id`;
    /// what is forgotten for it goes to `evicted`.
    fn find(&mut self, letters: &[u8], id: u64, evicted: &mut Vec<u64>) -> Option<u64> {
        if let Some(&leader) = self.ids.get(letters) {
            return Some(leader);
        }
        self.bytes += self.cost(letters);
        self.ids.put(letters.into(), id);
        while self.bytes > CACHE_BYTES
            && let Some((letters, leader)) = self.ids.pop_lru()
        {
            self.bytes -= self.cost(&letters);
            evicted.push(leader);
        }
        None
    }

    fn cost(&self, letters: &[u8]) -> usize {
        // No tokenizer makes more tokens than letters, beside the two special ones.
        let rows = if self.is_pooled { 1 } else { letters.len() + 2 };
        letters.len() + rows * self.row_bytes + ENTRY_BYTES
    }
}

/// Numbers the sequences of one stretch.
fn admit<S: Stretch>(
    stretch: S,
    first: u64,
    num_tasks: usize,
    known: &mut Option<Deduplicator>,
) -> (Admission<S>, Vec<Leader>) {
    let (mut leaders, mut aliases, mut evicted) = (Vec::new(), Vec::new(), Vec::new());
    for sequence in 0..stretch.num_sequences() {
        for task in 0..num_tasks {
            let id = (first + sequence as u64) * num_tasks as u64 + task as u64;
            let seen = known.as_mut().and_then(|known| {
                known.tasks[task].find(stretch.letters(sequence, task), id, &mut evicted)
            });
            match seen {
                Some(leader) => aliases.push((id, leader)),
                None => leaders.push(Leader { id, sequence, task }),
            }
        }
    }
    let stretch = Arc::new(stretch);
    (Admission { stretch, first, leaders: leaders.len(), aliases, evicted }, leaders)
}

/// Draws stretches until the input ends, fails, or nobody listens; gives the source back.
pub(super) fn run<I, S>(
    mut source: I,
    mut known: Option<Deduplicator>,
    num_tasks: usize,
    ledger: &Ledger<S>,
    steps: &HandOver<Step<Piece<S>>>,
    meter: &StageMeter,
) -> I
where
    I: Iterator<Item = Result<S, SeqError>>,
    S: Stretch,
{
    let mut first = 0;
    loop {
        let stretch = match meter.wait_in(|| source.next()) {
            Some(Ok(stretch)) => stretch,
            Some(Err(error)) => {
                ledger.fail(error.into());
                return source;
            }
            None => break,
        };
        let sequences = stretch.num_sequences() as u64;
        let args = [("sequences", sequences)];
        let (admission, leaders) =
            meter.busy("dedup", &args, || admit(stretch, first, num_tasks, &mut known));
        first += sequences;
        let stretch = Arc::clone(&admission.stretch);
        if !meter.wait_out(|| ledger.admit(admission)) {
            return source;
        }
        for piece in leaders.chunks(PIECE_SEQUENCES * num_tasks) {
            let piece = Piece { stretch: Arc::clone(&stretch), leaders: piece.to_vec() };
            if !meter.wait_out(|| send(steps, Step::Piece(piece))) {
                return source;
            }
        }
        if !meter.wait_out(|| send(steps, Step::EndOfWindow)) {
            return source;
        }
    }
    ledger.end_input();
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent(row_bytes: usize, is_pooled: bool) -> Recent {
        Recent { ids: LruCache::unbounded(), bytes: 0, row_bytes, is_pooled }
    }

    #[test]
    fn recent_finds_letters_until_they_are_evicted_and_stays_within_its_bytes() {
        // Three entries fit, a fourth does not.
        let mut known = recent(CACHE_BYTES / 3 - ENTRY_BYTES - 8, true);
        let mut evicted = Vec::new();
        for (id, letters) in [b"AAA", b"CCC", b"GGG"].into_iter().enumerate() {
            assert_eq!(known.find(letters, id as u64, &mut evicted), None);
        }
        assert_eq!(known.find(b"AAA", 3, &mut evicted), Some(0));
        assert!(evicted.is_empty());
        assert_eq!(known.find(b"TTT", 4, &mut evicted), None);
        // The one that was not asked for longest goes, and comes back under its new id.
        assert_eq!((&evicted[..], known.bytes <= CACHE_BYTES), (&[1][..], true));
        assert_eq!(known.find(b"AAA", 5, &mut evicted), Some(0));
        assert_eq!(known.find(b"CCC", 6, &mut evicted), None);
        assert_eq!(known.find(b"CCC", 7, &mut evicted), Some(6));
    }

    #[test]
    fn recent_counts_a_row_for_every_token_where_nothing_is_pooled() {
        let letters = [b'A'; 998];
        assert_eq!(recent(40, false).cost(&letters), 998 + 1000 * 40 + ENTRY_BYTES);
        assert_eq!(recent(40, true).cost(&letters), 998 + 40 + ENTRY_BYTES);
    }
}
