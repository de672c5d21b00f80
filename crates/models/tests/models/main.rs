//! The models on golden data, against their slow twin, and against damaged or hostile files.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bundle_create;
mod bundle_damage;
mod convert;
mod faults_classifier;
mod faults_config;
mod faults_encoder;
mod golden_classifier;
mod golden_dnabert_s;
mod golden_esm2;
mod golden_mini;
mod layer_norm_eps;
mod shards;
mod support;
mod twin;
