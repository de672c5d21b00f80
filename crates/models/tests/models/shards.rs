//! Encoders whose weights are split over several files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use virnucpro_models::EncoderSource;
use virnucpro_weights::Checkpoint;

use crate::support::assert_one_line;
use crate::support::golden::{Case, check_same_bits};
use crate::support::models::{
    dnabert_s_file, dnabert_s_source, esm2_folder, make_dnabert_s_folder,
};
use crate::support::random::Random;
use crate::support::tensors::Tensors;

fn cases(vocab: usize) -> Vec<Case> {
    let mut random = Random::new(5);
    let mut case = |length: usize| Case {
        id: length.to_string(),
        input_ids: (0..length).map(|_| random.below(vocab) as u32).collect(),
    };
    vec![case(3), case(20), case(2)]
}

fn write_index<'a>(path: &Path, shards: impl Iterator<Item = (&'a str, &'a str)>) {
    let weight_map: BTreeMap<&str, &str> = shards.collect();
    let index = serde_json::json!({ "metadata": {}, "weight_map": weight_map });
    fs::write(path, index.to_string()).unwrap();
}

#[test]
fn encoder_from_safetensors_shards_gives_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let whole = Checkpoint::open(&esm2_folder()).unwrap();
    // Every other tensor in the second file, so that each layer is spread over both.
    let mut shards = [Tensors::default(), Tensors::default()];
    let files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    for (i, (name, tensor)) in Tensors::of(&whole).0.into_iter().enumerate() {
        shards[i % 2].0.insert(name, tensor);
    }
    for (file, shard) in files.iter().zip(&shards) {
        fs::write(place.path().join(file), shard.safetensors()).unwrap();
    }
    fs::copy(esm2_folder().join("config.json"), place.path().join("config.json")).unwrap();
    let named = whole.names().enumerate().map(|(i, name)| (name, files[i % 2]));
    write_index(&place.path().join("model.safetensors.index.json"), named);

    let sharded = EncoderSource::open(place.path()).unwrap();
    assert_eq!(sharded.checkpoint().files().count(), 3);
    let one_file = EncoderSource::open(&esm2_folder()).unwrap();
    check_same_bits(&one_file, &sharded, &cases(33));

    // A tensor that the index does not name is not part of the model.
    let left_out = "esm.encoder.layer.1.output.dense.weight";
    let named = whole.names().enumerate().map(|(i, name)| (name, files[i % 2]));
    let named = named.filter(|(name, _)| *name != left_out);
    write_index(&place.path().join("model.safetensors.index.json"), named);
    let error = EncoderSource::open(place.path()).unwrap().check().unwrap_err();
    assert_one_line(&error, &["index.json", left_out, "missing"]);
}

#[test]
fn encoder_from_pytorch_shards_gives_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    make_dnabert_s_folder(place.path(), "pytorch_model.bin");
    fs::remove_file(place.path().join("pytorch_model.bin")).unwrap();
    // The index is the authority: each copy counts only for the tensors filed under it.
    let files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"];
    for file in files {
        fs::copy(dnabert_s_file("pytorch_model.bin"), place.path().join(file)).unwrap();
    }
    let whole = Checkpoint::open(&dnabert_s_file("pytorch_model.bin")).unwrap();
    let named = whole.names().enumerate().map(|(i, name)| (name, files[i % 2]));
    write_index(&place.path().join("pytorch_model.bin.index.json"), named);

    let sharded = EncoderSource::open(place.path()).unwrap();
    assert_eq!(sharded.checkpoint().files().count(), 3);
    check_same_bits(&dnabert_s_source(), &sharded, &cases(512));

    fs::remove_file(place.path().join(files[1])).unwrap();
    let error = EncoderSource::open(place.path()).unwrap_err();
    assert_one_line(&error, &["pytorch_model.bin.index.json", files[1], "missing"]);
}
