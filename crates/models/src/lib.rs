//! The models, written once over the [`Backend`](virnucpro_backend::Backend) trait.
//!
//! Owns the architectures ([`esm2`], [`dnabert_s`], [`classifier`]), the tables that map tensor
//! names of published checkpoints onto them, and the [`Bundle`] that ties two encoders to
//! classifiers. One forward per model, packed batches only. Knows no device and no command.
#![forbid(unsafe_code)]

pub mod bundle;
pub mod classifier;
mod convert;
pub mod dnabert_s;
mod encoder;
mod error;
pub mod esm2;
mod settings;
mod staging;
mod stored;

pub use bundle::Bundle;
pub use classifier::{Classifier, Score};
pub use convert::{Converted, convert};
pub use dnabert_s::{DnabertS, DnabertSConfig};
pub use encoder::{
    Embeddings, Encoder, EncoderConfig, EncoderSource, Pooling, PublishedSize, packed_view,
};
pub use error::ModelError;
pub use esm2::{Esm2, Esm2Config};
