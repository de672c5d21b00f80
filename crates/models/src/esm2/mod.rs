//! ESM-2: a pre-LN transformer encoder with rotary positions, of any size.

mod config;
mod first_qkv;
mod lm_head;
mod model;
mod naming;
mod weights;

pub use config::Esm2Config;
pub use model::Esm2;
pub(crate) use naming::{Names, tensor_shapes};
pub(crate) use weights::StoredWeights;
