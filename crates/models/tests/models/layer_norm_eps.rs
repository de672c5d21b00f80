//! The stored eps reaches every LayerNorm.
//!
//! Golden data show a wrong eps only where activations happen to be small. With an eps so large
//! that it hides its input, a LayerNorm gives its shift and nothing else, whatever went in.

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::EncoderSource;
use virnucpro_weights::{Bytes, Checkpoint};

use crate::support::golden::esm2;
use crate::support::models::{dnabert_s_file, esm2_folder, upload};
use crate::support::random::Random;

const HIDDEN: usize = 64;

/// A golden encoder whose eps is `1e30`, without a tokenizer.
fn blinded(config: &std::path::Path, weights: &std::path::Path) -> EncoderSource {
    let json = std::fs::read(config).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&json).unwrap();
    config["layer_norm_eps"] = 1e30.into();
    let config = Bytes::from(config.to_string().into_bytes());
    EncoderSource::from_parts("blinded", config, Checkpoint::open(weights).unwrap(), None).unwrap()
}

fn shift(source: &EncoderSource, name: &str) -> Vec<f32> {
    source.checkpoint().get(name).unwrap().to_f32_vec().unwrap()
}

#[track_caller]
fn assert_rows_are(what: &str, values: &[f32], expected: &[f32]) {
    for (row, values) in values.chunks(expected.len()).enumerate() {
        let worst = values.iter().zip(expected).map(|(v, e)| (v - e).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{what}: row {row} is off by {worst}");
    }
}

#[test]
fn esm2_eps_of_the_config_reaches_every_layer_norm() {
    let source = blinded(&esm2_folder().join("config.json"), &esm2_folder());
    let backend = CpuBackend::new(2).unwrap();
    let encoder = source.load(&backend).unwrap();
    let on_device = upload(&backend, &Random::new(51).batch(&[12, 5], 30));
    let hidden = |layer| encoder.hidden_states(&backend, &on_device, layer).unwrap();
    let embedding = hidden(0);
    for layer in 1..3 {
        // Both branches see the same shift for every token, so they add the same to each.
        let hidden = hidden(layer);
        let added: Vec<f32> =
            hidden.values().iter().zip(embedding.values()).map(|(h, e)| h - e).collect();
        assert!(added.iter().any(|v| v.abs() > 1e-3), "the layers do something");
        assert_rows_are(&format!("added by {layer} layers"), &added, &added[..HIDDEN]);
    }
    let last = hidden(3);
    let expected = shift(&source, "esm.encoder.emb_layer_norm_after.bias");
    assert_rows_are("last layer", last.values(), &expected);
    let logits = esm2(&encoder).logits(&backend, &embedding).unwrap();
    assert_rows_are("logits", logits.values(), &logits.values()[..33]);
}

#[test]
fn dnabert_s_eps_of_the_config_reaches_every_layer_norm() {
    let source = blinded(&dnabert_s_file("config.json"), &dnabert_s_file("model.safetensors"));
    let backend = CpuBackend::new(2).unwrap();
    let encoder = source.load(&backend).unwrap();
    let on_device = upload(&backend, &Random::new(52).batch(&[12, 5], 512));
    for (layer, norm) in [
        (0, "embeddings.LayerNorm.bias".to_owned()),
        (1, "encoder.layer.0.mlp.layernorm.bias".to_owned()),
        (3, "encoder.layer.2.mlp.layernorm.bias".to_owned()),
    ] {
        let hidden = encoder.hidden_states(&backend, &on_device, layer).unwrap();
        let values = backend.download(&hidden).unwrap();
        assert_rows_are(&norm, &values, &shift(&source, &norm));
    }
}
