//! The asynchronous inference runner: a model, a device and a stream of packed batches in, ordered
//! embeddings out.
//!
//! Owns the overlap of transfer, compute and retrieval, the bounded slots they share, and the
//! instruments that watch them ([`monitor`]). Knows no file format and no command.
#![forbid(unsafe_code)]

pub mod monitor;
