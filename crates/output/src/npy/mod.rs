//! Owns the NPY format: a stream writer and a reader of matrices. Must not know ids.
//!
//! Entry points: `NpyStream` inside the crate, [`read_npy`] outside.
//!
//! # Source
//! The NPY format description of NumPy (numpy/lib/format.py, versions 1 to 3).

mod header;
mod read;
mod write;

pub use read::read_npy;
pub(crate) use write::{NpyStream, NpyType};

const MAGIC: &[u8; 6] = b"\x93NUMPY";
