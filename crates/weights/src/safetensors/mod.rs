//! The safetensors format.
//!
//! Owns the header: reading it with every rule of the format checked, and writing it. Must not
//! choose which file to read; the entry types are [`read`] and [`write_safetensors`].

mod dtype;
mod header;
mod writer;

pub(crate) use header::read;
pub use writer::write_safetensors;
