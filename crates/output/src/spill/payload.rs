//! Owns what a payload must be able to do, and the payload of keys that have none.
//!
//! Entry trait: [`Payload`].

/// What is kept with a key: of fixed size, and mergeable with that of the same key.
pub(crate) trait Payload: Copy {
    /// Length of the encoded form.
    const BYTES: usize;

    /// Takes in the payload of another entry with the same key.
    ///
    /// The result must not depend on the order or grouping in which entries meet.
    fn merge(&mut self, other: Self);

    /// Appends [`BYTES`](Self::BYTES) bytes.
    fn encode(self, bytes: &mut Vec<u8>);

    /// Reads what [`encode`](Self::encode) wrote; `None` for anything else.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The payload of keys that stand for themselves.
impl Payload for () {
    const BYTES: usize = 0;

    fn merge(&mut self, (): Self) {}

    fn encode(self, _: &mut Vec<u8>) {}

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.is_empty().then_some(())
    }
}
