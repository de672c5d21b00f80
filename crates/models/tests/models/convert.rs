//! `convert`: the same bits in another layout, whole or not at all.

use std::fs;
use std::path::Path;

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::{Classifier, Converted, EncoderSource, ModelError, Score, convert};
use virnucpro_weights::{Checkpoint, Format};

use crate::support::golden::esm2;
use crate::support::models::{
    ESM2, TOKENIZER, dnabert_s_file, dnabert_s_source, esm2_folder, make_dnabert_s_folder, upload,
};
use crate::support::random::Random;
use crate::support::tensors::Tensors;
use crate::support::{assert_one_line, listing, repository, testdata};

/// Every representation and, for ESM-2, the logits, of one ragged batch.
fn outputs(source: &EncoderSource, with_logits: bool) -> Vec<Vec<f32>> {
    let backend = CpuBackend::new(2).unwrap();
    let encoder = source.load(&backend).unwrap();
    let on_device = upload(&backend, &Random::new(21).batch(&[12, 2, 35], 33));
    let mut outputs = Vec::new();
    for layer in 0..=encoder.num_hidden_layers() {
        let hidden = encoder.hidden_states(&backend, &on_device, layer).unwrap();
        if with_logits && layer == encoder.num_hidden_layers() {
            let logits = esm2(&encoder).logits(&backend, &hidden).unwrap();
            outputs.push(logits.values().to_vec());
        }
        outputs.push(hidden.values().to_vec());
    }
    outputs
}

#[test]
fn convert_fair_esm_checkpoint_gives_a_folder_with_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("esm2");
    let input = testdata(&format!("golden/esm2/{ESM2}.fair-esm.pt"));
    assert_eq!(convert(&input, &output).unwrap(), Converted::Encoder("ESM-2"));
    assert_eq!(listing(&output), ["config.json", "model.safetensors"]);
    assert_eq!(listing(place.path()), ["esm2"]);

    let (before, after) = (EncoderSource::open(&input).unwrap(), EncoderSource::open(&output));
    let after = after.unwrap();
    assert_eq!(after.checkpoint().format(), Format::Safetensors);
    assert_eq!(after.config(), before.config());
    assert_eq!(after.config(), EncoderSource::open(&esm2_folder()).unwrap().config());
    let (before, after_outputs) = (outputs(&before, true), outputs(&after, true));
    assert_eq!(before.len(), 5);
    assert!(before == after_outputs, "converted weights give other bits");

    // The published configuration of the same model says the same, digit for digit.
    let json = |path: &Path| -> serde_json::Value {
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let (ours, published) =
        (json(&output.join("config.json")), json(&esm2_folder().join("config.json")));
    for (name, value) in ours.as_object().unwrap() {
        assert_eq!(value, &published[name], "{name}");
    }

    // Converting once more changes nothing.
    let again = place.path().join("again");
    convert(&output, &again).unwrap();
    for file in listing(&output) {
        assert!(fs::read(output.join(&file)).unwrap() == fs::read(again.join(&file)).unwrap());
    }
}

#[test]
fn convert_pytorch_folder_gives_a_folder_with_the_same_bits() {
    let place = tempfile::tempdir().unwrap();
    let (input, output) = (place.path().join("bin"), place.path().join("new/dnabert_s"));
    make_dnabert_s_folder(&input, "pytorch_model.bin");
    assert_eq!(convert(&input, &output).unwrap(), Converted::Encoder("DNABERT-S"));
    assert_eq!(listing(&output), ["config.json", "model.safetensors", "tokenizer.json"]);
    assert_eq!(fs::read_to_string(output.join("tokenizer.json")).unwrap(), TOKENIZER);
    let after = EncoderSource::open(&output).unwrap();
    assert!(after.tokenizer().is_ok());
    assert!(outputs(&after, false) == outputs(&dnabert_s_source(), false));
}

#[test]
fn convert_prefixed_encoder_is_written_without_the_prefix() {
    let place = tempfile::tempdir().unwrap();
    let input = place.path().join("with_head");
    make_dnabert_s_folder(&input, "model.safetensors");
    let plain = Tensors::of(&Checkpoint::open(&input).unwrap());
    let prefixed = plain.0.into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor));
    let prefixed = Tensors(prefixed.collect());
    fs::write(input.join("model.safetensors"), prefixed.safetensors()).unwrap();
    let output = place.path().join("bare");
    convert(&input, &output).unwrap();
    let after = EncoderSource::open(&output).unwrap();
    assert!(after.checkpoint().contains("embeddings.word_embeddings.weight"));
    assert!(outputs(&after, false) == outputs(&dnabert_s_source(), false));
}

#[test]
fn convert_half_precision_weights_keep_their_type_and_bytes() {
    let place = tempfile::tempdir().unwrap();
    let (input, output) = (repository("models/mini/esm2"), place.path().join("esm2"));
    convert(&input, &output).unwrap();
    let (before, after) = (Checkpoint::open(&input).unwrap(), Checkpoint::open(&output).unwrap());
    assert!(before.len() > 90);
    for name in before.names() {
        let renamed = if name.starts_with("esm.") { name.into() } else { format!("esm.{name}") };
        assert_eq!(before.get(name), after.get(&renamed), "{name}");
    }
}

fn scores(path: &Path) -> Vec<Score> {
    let backend = CpuBackend::new(2).unwrap();
    let classifier = Classifier::load(&backend, &Checkpoint::open(path).unwrap()).unwrap();
    let features = Random::new(22).values(3 * classifier.num_features(), 1.0);
    classifier.score(&backend, &features).unwrap()
}

#[test]
fn convert_pickled_classifier_gives_the_same_scores() {
    let place = tempfile::tempdir().unwrap();
    for file in ["mlp_3328x64.pth", "mlp_3328x64.state_dict.pth"] {
        let input = testdata(&format!("golden/head/{file}"));
        let output = place.path().join(file).with_extension("safetensors");
        assert_eq!(convert(&input, &output).unwrap(), Converted::Classifier);
        assert_eq!(scores(&input), scores(&output));
    }
    assert_eq!(listing(place.path()).len(), 2);
}

#[test]
fn convert_classifier_with_its_own_eps_keeps_it() {
    let place = tempfile::tempdir().unwrap();
    let (input, output) = (place.path().join("a"), place.path().join("b"));
    let classifier = Tensors::random_classifier(4, 12, 5);
    fs::write(&input, classifier.safetensors_with(&[("batch_norm_eps", "0.3")])).unwrap();
    convert(&input, &output).unwrap();
    assert_eq!(scores(&input), scores(&output));
    fs::write(&input, classifier.safetensors()).unwrap();
    assert_ne!(scores(&input), scores(&output));
}

#[test]
fn convert_existing_output_is_refused_and_untouched() {
    let place = tempfile::tempdir().unwrap();
    let output = place.path().join("out");
    let head = testdata("golden/head/mlp_3328x64.pth");
    let refused = |input: &Path| {
        let error = convert(input, &output).unwrap_err();
        assert!(matches!(error, ModelError::OutputExists { .. }), "{error}");
        assert_one_line(&error, &["out: exists already"]);
    };
    fs::write(&output, "precious").unwrap();
    refused(&esm2_folder());
    refused(&head);
    assert_eq!(fs::read_to_string(&output).unwrap(), "precious");
    fs::remove_file(&output).unwrap();
    fs::create_dir(&output).unwrap();
    refused(&head);
    fs::write(output.join("precious"), "").unwrap();
    refused(&esm2_folder());
    assert_eq!(listing(&output), ["precious"]);
    assert_eq!(listing(place.path()), ["out"]);

    // An empty folder was made to be filled.
    fs::remove_file(output.join("precious")).unwrap();
    convert(&esm2_folder(), &output).unwrap();
    assert_eq!(listing(&output), ["config.json", "model.safetensors"]);
}

#[test]
fn convert_unusable_input_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name);
    let mut broken = Tensors::random_classifier(4, 12, 5);
    broken.0.remove("bn1.running_mean");
    fs::write(path("head"), broken.safetensors()).unwrap();
    fs::write(path("text"), "no model").unwrap();
    make_dnabert_s_folder(&path("dnabert_s"), "model.safetensors");
    fs::write(path("dnabert_s/config.json"), "{}").unwrap();
    let before = listing(place.path());
    for (input, part) in [
        (path("head"), "bn1.running_mean is missing"),
        (path("text"), "neither"),
        (path("dnabert_s"), "config.json: no model_type"),
        (path("absent"), "absent: "),
        (dnabert_s_file("pytorch_model.bin"), "other encoders are folders with a config.json"),
    ] {
        assert_one_line(&convert(&input, &path("out")).unwrap_err(), &[part]);
        assert_eq!(listing(place.path()), before, "{}", input.display());
    }
}
