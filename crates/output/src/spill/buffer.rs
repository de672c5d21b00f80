//! Owns the entries in memory. Must not know about files.
//!
//! Entry type: [`EntryBuffer`].

use super::Payload;

/// Entries whose keys lie end to end in one allocation.
#[derive(Debug)]
pub(super) struct EntryBuffer<P> {
    keys: Vec<u8>,
    slots: Vec<Slot<P>>,
}

#[derive(Clone, Copy, Debug)]
struct Slot<P> {
    /// Where the key starts and ends in `keys`.
    start: usize,
    end: usize,
    payload: P,
}

impl<P> Slot<P> {
    fn key<'a>(&self, keys: &'a [u8]) -> &'a [u8] {
        &keys[self.start..self.end]
    }
}

impl<P: Payload> EntryBuffer<P> {
    pub(super) fn new() -> Self {
        Self { keys: Vec::new(), slots: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes in use once an entry with this key is added.
    pub(super) fn bytes_with(&self, key: &[u8]) -> usize {
        self.keys.len() + key.len() + (self.slots.len() + 1) * size_of::<Slot<P>>()
    }

    /// Merges an entry into the last one if that has the same key, as the frames of a chunk do.
    pub(super) fn merge_into_last(&mut self, key: &[u8], payload: P) -> bool {
        match self.slots.last_mut() {
            Some(last) if last.key(&self.keys) == key => {
                last.payload.merge(payload);
                true
            }
            _ => false,
        }
    }

    pub(super) fn push(&mut self, key: &[u8], payload: P) {
        let start = self.keys.len();
        self.keys.extend_from_slice(key);
        self.slots.push(Slot { start, end: self.keys.len(), payload });
    }

    /// Sorts by key and leaves one entry of each; their keys stay where they are.
    pub(super) fn sort(&mut self) {
        let keys = &self.keys;
        // The stable sort would take another half of the slots.
        self.slots.sort_unstable_by(|a, b| a.key(keys).cmp(b.key(keys)));
        self.slots.dedup_by(|next, kept| {
            let is_same = next.key(keys) == kept.key(keys);
            if is_same {
                kept.payload.merge(next.payload);
            }
            is_same
        });
    }

    /// Bytes in use after [`compact`](Self::compact).
    pub(super) fn sorted_bytes(&self) -> usize {
        let keys: usize = self.slots.iter().map(|slot| slot.end - slot.start).sum();
        keys + self.slots.len() * size_of::<Slot<P>>()
    }

    /// Drops the bytes of keys that [`sort`](Self::sort) left without an entry.
    pub(super) fn compact(&mut self) {
        let mut keys = Vec::new();
        for slot in &mut self.slots {
            let start = keys.len();
            keys.extend_from_slice(slot.key(&self.keys));
            (slot.start, slot.end) = (start, keys.len());
        }
        self.keys = keys;
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], P)> {
        self.slots.iter().map(|slot| (slot.key(&self.keys), slot.payload))
    }

    /// Bytes reserved, in use or not.
    #[cfg(test)]
    pub(super) fn capacity_bytes(&self) -> usize {
        self.keys.capacity() + self.slots.capacity() * size_of::<Slot<P>>()
    }

    /// Removes all entries and gives back what a single long key took beyond `kept_bytes`.
    pub(super) fn clear(&mut self, kept_bytes: usize) {
        self.keys.clear();
        self.keys.shrink_to(kept_bytes);
        self.slots.clear();
    }
}
