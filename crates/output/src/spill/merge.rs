//! Owns merging sorted runs. Must not know how runs are stored.
//!
//! Entry type: [`Merge`].

use super::{Payload, run::RunReader};
use std::{
    collections::{BinaryHeap, binary_heap::PeekMut},
    io, mem,
};

/// The entries of several runs in order, those of one key as one.
pub(super) struct Merge<'f, P> {
    /// The run with the smallest key on top; none at its end.
    readers: BinaryHeap<RunReader<'f, P>>,
    key: Vec<u8>,
}

impl<'f, P: Payload> Merge<'f, P> {
    pub(super) fn new(readers: impl Iterator<Item = RunReader<'f, P>>) -> io::Result<Self> {
        let mut started = BinaryHeap::new();
        for mut reader in readers {
            if reader.advance()? {
                started.push(reader);
            }
        }
        Ok(Self { readers: started, key: Vec::new() })
    }

    /// The next key with its merged payload; `None` after the last.
    pub(super) fn next(&mut self) -> io::Result<Option<(&[u8], P)>> {
        let Some(mut first) = self.readers.peek_mut() else {
            return Ok(None);
        };
        mem::swap(&mut self.key, first.key_mut());
        let mut payload = first.payload()?;
        advance(first)?;
        while let Some(same) = self.readers.peek_mut()
            && same.key() == self.key
        {
            payload.merge(same.payload()?);
            advance(same)?;
        }
        Ok(Some((&self.key, payload)))
    }
}

/// Moves the top run to its next entry and puts it where it then belongs.
fn advance<P: Payload>(mut top: PeekMut<'_, RunReader<'_, P>>) -> io::Result<()> {
    if !top.advance()? {
        PeekMut::pop(top);
    }
    Ok(())
}
