//! DNABERT-S: a post-LN BERT encoder with ALiBi and gated GELU (the MosaicBERT architecture).

mod alibi;
mod config;
mod model;
mod weights;

pub use alibi::alibi_slopes;
pub use config::DnabertSConfig;
pub use model::DnabertS;
pub(crate) use weights::{StoredWeights, tensor_shapes, to_bare_names};
