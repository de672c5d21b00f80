//! Either encoder behind one type: where it comes from, and what it makes of a batch.
//!
//! Owns the choice between the architectures; must not know how either works. The entry types are
//! [`EncoderSource`] (files) and [`Encoder`] (on a device).

mod config;
mod embed;
mod random;
mod source;

pub use config::EncoderConfig;
pub use embed::{Embeddings, Encoder, Pooling, packed_view};
pub use random::PublishedSize;
pub use source::EncoderSource;
