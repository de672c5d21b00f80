//! PyTorch archives: a zip file of one pickle and the bytes of its storages.
//!
//! Owns the zip layer and what a torch archive must contain; must not interpret the pickle, which
//! is the business of [`crate::pickle`]. The entry type is [`read`].

mod archive;

pub(crate) use archive::{Contents, read};
