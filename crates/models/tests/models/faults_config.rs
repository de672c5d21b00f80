//! `config.json` that is damaged, absurd, or of another model than the tensors.

use std::fs;

use serde_json::{Value, json};
use virnucpro_models::{EncoderSource, ModelError, convert};
use virnucpro_weights::{Bytes, Checkpoint};

use crate::support::models::{dnabert_s_file, esm2_folder, make_dnabert_s_folder};
use crate::support::{assert_one_line, listing};

fn esm2(config: &[u8]) -> Result<(), ModelError> {
    let checkpoint = Checkpoint::open(&esm2_folder()).unwrap();
    EncoderSource::from_parts("model", Bytes::from(config.to_vec()), checkpoint, None)?.check()
}

fn dnabert_s(config: &[u8]) -> Result<(), ModelError> {
    let checkpoint = Checkpoint::open(&dnabert_s_file("model.safetensors")).unwrap();
    EncoderSource::from_parts("model", Bytes::from(config.to_vec()), checkpoint, None)?.check()
}

/// The stored settings with some replaced; `null` leaves a setting out.
fn changed(config: &[u8], settings: &Value) -> Vec<u8> {
    let mut config: Value = serde_json::from_slice(config).unwrap();
    for (name, value) in settings.as_object().unwrap() {
        match value {
            Value::Null => drop(config.as_object_mut().unwrap().remove(name)),
            value => config[name] = value.clone(),
        }
    }
    serde_json::to_vec(&config).unwrap()
}

#[test]
fn esm2_config_that_does_not_fit_is_refused_in_one_line() {
    let config = fs::read(esm2_folder().join("config.json")).unwrap();
    assert!(esm2(&config).is_ok());
    for (settings, expected) in [
        (json!({"num_hidden_layers": 4}), "encoder.layer.3.attention.self.query.weight is missing"),
        (json!({"num_hidden_layers": 2}), "unexpected tensor esm.encoder.layer.2."),
        (json!({"num_hidden_layers": 1_000_000}), "encoder.layer.3.attention.self.query"),
        (json!({"num_hidden_layers": 1_000_000_000}), "num_hidden_layers is 1000000000"),
        (json!({"num_hidden_layers": 0}), "num_hidden_layers is 0"),
        (json!({"num_hidden_layers": -1}), "integer `-1`"),
        (json!({"num_hidden_layers": 1e30}), "not an ESM-2 configuration"),
        (json!({"hidden_size": 128}), "word_embeddings.weight has shape [33, 64], expected"),
        (json!({"hidden_size": 1u64 << 60}), "hidden_size is 1152921504606846976"),
        (json!({"hidden_size": u64::MAX}), "hidden_size is 18446744073709551615"),
        (json!({"hidden_size": 0}), "hidden_size is 0"),
        (json!({"intermediate_size": 1 << 24}), "intermediate.dense.weight has shape"),
        (json!({"intermediate_size": 1u64 << 62}), "intermediate_size is"),
        (json!({"num_attention_heads": 8}), "inv_freq has shape [8], expected [4]"),
        (json!({"num_attention_heads": 5}), "does not divide into 5 heads"),
        (json!({"num_attention_heads": 64}), "does not divide into 64 heads of even width"),
        (json!({"num_attention_heads": 0}), "num_attention_heads is 0"),
        (json!({"vocab_size": 34}), "vocab_size is 34, the ESM-2 alphabet has 33"),
        (json!({"layer_norm_eps": 0.0}), "layer_norm_eps is 0, not a positive number"),
        (json!({"layer_norm_eps": 1e39}), "layer_norm_eps is inf"),
        (json!({"layer_norm_eps": null}), "missing field `layer_norm_eps`"),
        (json!({"rope_theta": -1.0}), "rope_theta is -1"),
        (json!({"token_dropout": null}), "missing field `token_dropout`"),
        (json!({"position_embedding_type": "absolute"}), "only ESM-2"),
        (json!({"position_embedding_type": null}), "missing field `position_embedding_type`"),
        (json!({"emb_layer_norm_before": true}), "only ESM-2"),
        (json!({"model_type": "t5\n"}), "model_type is \"t5\\n\""),
        (json!({"model_type": null}), "no model_type"),
        (json!({"model_type": "bert"}), "word_embeddings.weight"),
    ] {
        let error = esm2(&changed(&config, &settings)).expect_err(&settings.to_string());
        assert_one_line(&error, &["model", expected]);
    }
    // What older and newer configurations leave out or write as null.
    let older = changed(&config, &json!({"rope_theta": null, "mask_token_id": null}));
    assert!(esm2(&older).is_ok());
    let text = String::from_utf8(config).unwrap();
    let null = text.replace("\"emb_layer_norm_before\": false", "\"emb_layer_norm_before\": null");
    assert_ne!(null, text);
    assert!(esm2(null.as_bytes()).is_ok());
}

#[test]
fn dnabert_s_config_that_does_not_fit_is_refused_in_one_line() {
    let config = fs::read(dnabert_s_file("config.json")).unwrap();
    assert!(dnabert_s(&config).is_ok());
    for (settings, expected) in [
        (json!({"num_hidden_layers": 4}), "encoder.layer.3.attention.self.Wqkv.weight is missing"),
        (json!({"num_hidden_layers": 2}), "unexpected tensor encoder.layer.2."),
        (json!({"num_hidden_layers": 1_000_000}), "encoder.layer.3.attention.self.Wqkv"),
        (json!({"hidden_size": 32}), "word_embeddings.weight has shape [512, 64]"),
        (json!({"hidden_size": 1u64 << 60}), "hidden_size is"),
        (json!({"intermediate_size": 64}), "gated_layers.weight has shape [256, 64]"),
        (json!({"intermediate_size": u64::MAX}), "intermediate_size is"),
        (json!({"num_attention_heads": 5}), "does not divide into 5 heads"),
        (json!({"vocab_size": 513}), "word_embeddings.weight has shape [512, 64]"),
        (json!({"type_vocab_size": 0}), "type_vocab_size is 0"),
        (json!({"type_vocab_size": 1}), "token_type_embeddings.weight has shape [2, 64]"),
        (json!({"layer_norm_eps": -1e-12}), "not a positive number"),
        (json!({"hidden_act": "gelu_new"}), "hidden_act is \"gelu_new\", only the exact gelu"),
        (json!({"model_type": "esm"}), "not an ESM-2 configuration"),
    ] {
        let error = dnabert_s(&changed(&config, &settings)).expect_err(&settings.to_string());
        assert_one_line(&error, &["model", expected]);
    }
    let nested = "[".repeat(100_000);
    for bytes in [&b""[..], b"{", b"[]", b"null", b"\xff\xfe", nested.as_bytes()] {
        assert_one_line(&dnabert_s(bytes).unwrap_err(), &["model/config.json"]);
    }
}

#[test]
fn convert_absurd_number_of_layers_is_refused_before_anything_is_written() {
    let place = tempfile::tempdir().unwrap();
    let (esm2, dnabert_s) = (place.path().join("esm2"), place.path().join("dnabert_s"));
    fs::create_dir(&esm2).unwrap();
    fs::copy(esm2_folder().join("model.safetensors"), esm2.join("model.safetensors")).unwrap();
    fs::copy(esm2_folder().join("config.json"), esm2.join("config.json")).unwrap();
    make_dnabert_s_folder(&dnabert_s, "model.safetensors");
    for model in [esm2, dnabert_s] {
        let file = model.join("config.json");
        let config = changed(&fs::read(&file).unwrap(), &json!({"num_hidden_layers": 1 << 20}));
        fs::write(&file, config).unwrap();
        let error = convert(&model, &place.path().join("out")).unwrap_err();
        assert_one_line(&error, &["model.safetensors", "encoder.layer.3.", "is missing"]);
    }
    assert_eq!(listing(place.path()), ["dnabert_s", "esm2"]);
}
