//! A restricted unpickler: builds plain data and tensors, calls nothing.
//!
//! Owns the pickle instruction set, the list of names a pickle may mention, and the limits that
//! keep a hostile one linear in its size. Must never import, call or construct anything outside
//! [`globals`]. Where tensor bytes come from is the business of the archive behind [`Storages`];
//! the entry types are [`load`] and [`Value`].
//!
//! How the limits work: every instruction takes at least one byte and makes at most one node of
//! bounded size, so work and memory are linear in the pickle; containers hold node numbers, so
//! sharing through the memo never copies; the finished graph is turned into a [`Value`] in which
//! shared parts stay shared, cycles are refused, and nesting is bounded, so that walking or
//! dropping it cannot exhaust the stack.

mod cursor;
mod finish;
mod globals;
mod machine;
mod memo;
mod node;
mod rebuild;
mod reduce;
mod value;

pub(crate) use globals::hint;
pub(crate) use machine::load;
pub use value::{Object, Value};

use crate::bytes::Bytes;

/// Largest pickle that is read. The tensors themselves lie outside of it; a pickle of this size
/// describes over 100 000 of them.
pub(crate) const MAX_PICKLE_BYTES: usize = 16 << 20;

/// Most values in one pickle; a tensor takes about a dozen.
pub(crate) const MAX_NODES: usize = 4 << 20;

/// Deepest nesting; a module inside a module adds three levels.
pub(crate) const MAX_DEPTH: u16 = 200;

/// Where the storages that a pickle names are found.
pub(crate) trait Storages {
    /// The bytes of storage `key`, or why there are none.
    fn storage(&self, key: &str) -> Result<Bytes, String>;
}

/// What a pickle held.
pub(crate) struct Unpickled {
    /// The value at the top.
    pub(crate) root: Value,
    /// Classes and functions it mentions, sorted.
    pub(crate) classes: Vec<String>,
}

/// Why an instruction was refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// A broken rule.
    Broken(String),
    /// A name outside the list of harmless ones.
    Forbidden {
        /// Python module.
        module: String,
        /// Function or class.
        name: String,
    },
    /// A storage or tensor of an element type that is not used here.
    DType {
        /// Storage key.
        name: String,
        /// Type as the pickle calls it.
        dtype: String,
    },
}

impl From<String> for Refusal {
    fn from(what: String) -> Self {
        Self::Broken(what)
    }
}

impl From<&str> for Refusal {
    fn from(what: &str) -> Self {
        Self::Broken(what.to_owned())
    }
}
