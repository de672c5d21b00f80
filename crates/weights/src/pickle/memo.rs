//! The memo: numbered places that instructions store values in and fetch them from.

use std::collections::HashMap;

use super::Refusal;
use super::node::NodeId;

/// Numbers may be any `u32`, so the places are kept sparsely.
#[derive(Default)]
pub(super) struct Memo {
    places: HashMap<u32, NodeId>,
}

impl Memo {
    pub(super) fn put(&mut self, place: u32, id: NodeId) {
        self.places.insert(place, id);
    }

    /// Stores at the next free number, as protocol 4 counts.
    pub(super) fn push(&mut self, id: NodeId) {
        let next = self.places.len() as u32;
        self.put(next, id);
    }

    pub(super) fn get(&self, place: u32) -> Result<NodeId, Refusal> {
        self.places
            .get(&place)
            .copied()
            .ok_or_else(|| Refusal::Broken(format!("memo place {place} was never filled")))
    }
}
