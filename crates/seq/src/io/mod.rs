//! Bytes of inputs: opening, hashing, decompressing, and text with `\n` as its only line end.
//!
//! Owns everything below the record grammar. Decompression is pure Rust and runs on a thread of
//! its own behind a bounded queue, so that memory does not depend on the size of the input. Entry
//! type: [`Input`].

mod compression;
mod input;
mod interruptible;
mod line_ends;
mod preamble;
mod raw;
mod read_ahead;
mod text;
mod zstd;

pub use compression::Compression;
pub use input::Input;
pub(crate) use preamble::find_first_record;
pub(crate) use read_ahead::{Blocks, Source};
pub(crate) use text::{Interruption, TextReader};
