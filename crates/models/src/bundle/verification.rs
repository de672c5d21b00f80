//! Files of a bundle that are held against their hashes while they are already in use.
//!
//! Entry type: [`Verification`].

use virnucpro_weights::{BackgroundHash, Bytes, one_line};

use crate::ModelError;

/// Hashes under way. Nothing that was computed with the files may be kept before [`Self::wait`] has
/// succeeded, of which [`Verified`] is the proof.
#[derive(Debug, Default)]
pub struct Verification {
    pending: Vec<Pending>,
}

#[derive(Debug)]
struct Pending {
    bundle: String,
    file: String,
    expected: String,
    hash: BackgroundHash,
}

/// Every file given to a [`Verification`] is the one that the manifest names.
#[derive(Debug)]
pub struct Verified(());

impl Verification {
    pub(super) fn begin(&mut self, bundle: &str, file: &str, expected: &str, bytes: Bytes) {
        self.pending.push(Pending {
            bundle: bundle.to_owned(),
            file: file.to_owned(),
            expected: expected.to_owned(),
            hash: BackgroundHash::start(bytes),
        });
    }

    /// What is known by now; does not wait.
    ///
    /// # Errors
    /// [`ModelError::HashMismatch`] for a file that turned out to be another than the manifest names.
    pub fn check(&mut self) -> Result<(), ModelError> {
        let mut ready = self.pending.iter_mut().filter(|pending| pending.hash.is_ready());
        ready.try_for_each(Pending::wait)
    }

    /// Waits until every hash is known.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn wait(&mut self) -> Result<Verified, ModelError> {
        self.pending.iter_mut().try_for_each(Pending::wait)?;
        Ok(Verified(()))
    }

    /// Why something failed that only the model can have caused: a file that is another than the manifest
    /// names, if there is one, and otherwise `error`. Waits until every hash is known.
    pub fn explain<E: From<ModelError>>(&mut self, error: E) -> E {
        self.wait().map_or_else(E::from, |_| error)
    }

    /// [`Self::explain`] by what is known by now, for failures with other causes too; does not wait.
    pub fn explain_if_known<E: From<ModelError>>(&mut self, error: E) -> E {
        self.check().map_or_else(E::from, |()| error)
    }
}

impl Pending {
    fn wait(&mut self) -> Result<(), ModelError> {
        expect_hash(&self.bundle, &self.file, &self.expected, self.hash.wait())
    }
}

/// Refuses a file with another hash than the manifest's.
pub(super) fn expect_hash(
    bundle: &str,
    file: &str,
    expected: &str,
    found: &str,
) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    Err(ModelError::HashMismatch {
        bundle: one_line(bundle),
        file: file.to_owned(),
        expected: expected.to_owned(),
        found: found.to_owned(),
    })
}
