//! Owns the count of repeated record ids. Must not say which ids repeat.
//!
//! Entry type: [`DuplicateIds`].

use crate::{
    Result,
    spill::{Limits, SpillSort},
};
use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
};

/// Counts records whose id occurred before, in bounded memory.
///
/// Ids are compared by a 64-bit hash with a random key: among 100 million different ids, two
/// are taken for the same in one run of 3,700. What does not fit into memory waits in a
/// nameless temporary file.
#[derive(Debug)]
pub struct DuplicateIds {
    hasher: RandomState,
    hashes: SpillSort<()>,
    records: u64,
}

impl DuplicateIds {
    /// A count of no records yet; `output` is the file it will be written to, whose folder
    /// takes the temporary file.
    #[must_use]
    pub fn new(output: impl AsRef<Path>) -> Self {
        Self::with_limits(output.as_ref(), Limits::DEFAULT)
    }

    fn with_limits(output: &Path, limits: Limits) -> Self {
        let hashes = SpillSort::new(output, limits);
        Self { hasher: RandomState::new(), hashes, records: 0 }
    }

    /// Takes in the id of one record.
    ///
    /// # Errors
    /// [`Error::Spill`](crate::Error::Spill) where the temporary file cannot be written.
    pub fn push(&mut self, id: &str) -> Result<()> {
        self.records += 1;
        self.hashes.push(&self.hasher.hash_one(id).to_be_bytes(), ())
    }

    /// The number of records whose id occurred before.
    ///
    /// # Errors
    /// [`Error::Spill`](crate::Error::Spill) where the temporary file cannot be written or
    /// read, or is damaged.
    pub fn finish(self) -> Result<u64> {
        let mut distinct = 0;
        self.hashes.finish(|_, ()| {
            distinct += 1;
            Ok(())
        })?;
        Ok(self.records - distinct)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn duplicate_ids_count_every_later_record() {
        let mut ids = DuplicateIds::new("no/such/folder/summary.json");
        for id in ["a", "b", "a", "", "a", "", "c"] {
            ids.push(id).unwrap();
        }
        assert_eq!(ids.finish().unwrap(), 3);
    }

    #[test]
    fn duplicate_ids_of_nothing_are_none() {
        assert_eq!(DuplicateIds::new("summary.json").finish().unwrap(), 0);
    }

    #[test]
    fn duplicate_ids_error_names_output() {
        let limits = Limits { buffer_bytes: 64, block_bytes: 32, fan_in: 2 };
        let path = Path::new("no/such/folder/summary.json");
        let mut ids = DuplicateIds::with_limits(path, limits);
        let error = (0..100).try_for_each(|id| ids.push(&id.to_string())).unwrap_err().to_string();
        assert!(error.starts_with("cannot make no/such/folder/summary.json: the temp"), "{error}");
    }

    proptest! {
        #[test]
        fn prop_duplicate_ids_agree_with_a_set(
            ids in prop::collection::vec("[ab\t]{0,4}", 0..300),
            buffer_bytes in 1_usize..400,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let limits = Limits { buffer_bytes, block_bytes: 32, fan_in: 3 };
            let mut count = DuplicateIds::with_limits(&folder.path().join("summary.json"), limits);
            for id in &ids {
                count.push(id).unwrap();
            }
            let distinct: HashSet<&String> = ids.iter().collect();
            prop_assert_eq!(count.finish().unwrap(), (ids.len() - distinct.len()) as u64);
        }
    }
}
