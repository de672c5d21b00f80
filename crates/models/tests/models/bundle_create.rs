//! Bundles made from models: folder and single file.

use std::fs;
use std::path::Path;

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::bundle::{self, BundleRecipe, ClassifierFile};
use virnucpro_models::{Bundle, Classifier, EncoderSource, ModelError, Pooling, Score};
use virnucpro_weights::Checkpoint;

use crate::support::models::{NUM_FEATURES, Parts, esm2_folder};
use crate::support::random::Random;
use crate::support::tensors::Tensors;
use crate::support::{assert_one_line, listing};

fn embeddings(source: &EncoderSource) -> Vec<f32> {
    let backend = CpuBackend::new(2).unwrap();
    let batch = Random::new(31).batch(&[9, 2, 30], 33);
    let encoder = source.load(&backend).unwrap();
    encoder.embed(&backend, &batch, encoder.num_hidden_layers(), Pooling::Mean).unwrap().values
}

fn scores(classifier: &Classifier<CpuBackend>) -> Vec<Score> {
    let features = Random::new(32).values(3 * NUM_FEATURES, 1.0);
    classifier.score(&CpuBackend::new(2).unwrap(), &features).unwrap()
}

#[test]
fn bundle_folder_and_file_opened_again_give_the_bits_of_their_parts() {
    let parts = Parts::new();
    let backend = CpuBackend::new(2).unwrap();
    let (folder, file) = (parts.path("made/bundle"), parts.path("bundle.vnp"));
    let manifest = bundle::create(&parts.recipe, &folder).unwrap();
    assert_eq!(bundle::create(&parts.recipe, &file).unwrap(), manifest);
    assert_eq!(listing(&folder), ["bundle.json", "dnabert_s", "esm2", "heads"]);
    assert_eq!(listing(&parts.path("made")), ["bundle"], "no partial folder is left");
    assert!(!parts.path("bundle.vnp.partial").exists());

    let protein = embeddings(&EncoderSource::open(&parts.recipe.protein_encoder).unwrap());
    let nucleotide = embeddings(&EncoderSource::open(&parts.recipe.nucleotide_encoder).unwrap());
    let direct = |part: &ClassifierFile| {
        let checkpoint = Checkpoint::open(&part.path).unwrap();
        scores(&Classifier::load(&backend, &checkpoint).unwrap())
    };
    let [first, second] = &parts.recipe.classifiers[..] else { panic!("two classifiers") };
    for path in [&folder, &file] {
        assert!(Bundle::is_at(path));
        let bundle = Bundle::open(path).unwrap();
        assert_eq!(bundle.manifest(), &manifest);
        assert_eq!(bundle.manifest().name, "small");
        assert_eq!(bundle.source(), path.display().to_string());
        assert!(embeddings(&bundle.protein_encoder().unwrap()) == protein);
        let source = bundle.nucleotide_encoder().unwrap();
        assert!(embeddings(&source) == nucleotide);
        let encoding = source.tokenizer().unwrap().encode(b"ACGTAC").unwrap();
        assert_eq!(encoding.input_ids, [1, 9, 7, 2]);
        assert_eq!(bundle.chunk_lengths(), [300, 500, 1000]);
        for (length, part) in [(300, first), (500, first), (1000, second)] {
            let classifier = bundle.classifier(&backend, length).unwrap();
            assert_eq!(scores(&classifier), direct(part), "{length}");
        }
        let parts = bundle.parts(1000).unwrap();
        let paths: Vec<(&str, &str)> = parts.iter().map(|p| (p.role, &p.path[..])).collect();
        let expected = [
            ("protein_encoder", "esm2/config.json"),
            ("protein_encoder", "esm2/model.safetensors"),
            ("nucleotide_encoder", "dnabert_s/config.json"),
            ("nucleotide_encoder", "dnabert_s/model.safetensors"),
            ("nucleotide_encoder", "dnabert_s/tokenizer.json"),
            ("classifier", "heads/1000.safetensors"),
        ];
        assert_eq!(paths, expected);
    }

    // Nothing in a bundle depends on when or where it was made.
    let again = parts.path("again.vnp");
    bundle::create(&parts.recipe, &again).unwrap();
    assert!(fs::read(&file).unwrap() == fs::read(&again).unwrap());
}

#[test]
fn bundle_unknown_chunk_length_lists_the_known_ones() {
    let parts = Parts::new();
    bundle::create(&parts.recipe, &parts.path("b")).unwrap();
    let bundle = Bundle::open(&parts.path("b")).unwrap();
    let error = bundle.classifier(&CpuBackend::new(1).unwrap(), 400).err().unwrap();
    assert_one_line(&error, &["no classifier for chunk length 400", "has 300, 500, 1000"]);
    match error {
        ModelError::NoClassifier { chunk_length: 400, available, .. } => {
            assert_eq!(available, [300, 500, 1000]);
        }
        other => panic!("{other}"),
    }
    assert!(matches!(bundle.parts(0), Err(ModelError::NoClassifier { .. })));
}

/// Creates a bundle that must fail, as folder and as file, and leave the folder as it was.
#[track_caller]
fn refused(parts: &Parts, recipe: &BundleRecipe, expected: &[&str]) {
    let before = listing(parts.place.path());
    for output in ["out", "out.vnp", "new/out.vnp"] {
        let error = bundle::create(recipe, &parts.path(output)).unwrap_err();
        assert_one_line(&error, expected);
        assert_eq!(listing(parts.place.path()), before);
    }
}

#[test]
fn bundle_of_parts_that_do_not_fit_is_refused_and_leaves_nothing() {
    let parts = Parts::new();
    let with = |change: &dyn Fn(&mut BundleRecipe)| {
        let mut recipe = parts.recipe.clone();
        change(&mut recipe);
        recipe
    };
    let recipe = with(&|r| r.classifiers[1].chunk_lengths = vec![500]);
    refused(&parts, &recipe, &["two classifiers for chunk length 500"]);
    let recipe = with(&|r| r.classifiers[1].chunk_lengths.clear());
    refused(&parts, &recipe, &["no chunk length"]);
    let recipe = with(&|r| r.classifiers.clear());
    refused(&parts, &recipe, &["there is no classifier"]);

    let swapped = with(&|r| std::mem::swap(&mut r.protein_encoder, &mut r.nucleotide_encoder));
    refused(&parts, &swapped, &["dnabert_s: the model is DNABERT-S, expected ESM-2"]);
    let twice = with(&|r| r.nucleotide_encoder = esm2_folder());
    refused(&parts, &twice, &["the model is ESM-2, expected DNABERT-S"]);
    let absent = with(&|r| r.protein_encoder = parts.path("absent"));
    refused(&parts, &absent, &["absent: "]);

    let head = &parts.recipe.classifiers[1].path;
    let good = fs::read(head).unwrap();
    fs::write(head, Tensors::random_classifier(5, 3328, 4).safetensors()).unwrap();
    refused(&parts, &parts.recipe, &["head2.safetensors", "3328 features", "give 128 together"]);
    let mut tensors = Tensors::random_classifier(5, NUM_FEATURES, 4);
    tensors.0.remove("output_layer.bias");
    fs::write(head, tensors.safetensors()).unwrap();
    refused(&parts, &parts.recipe, &["head2.safetensors", "output_layer.bias is missing"]);
    fs::write(head, good).unwrap();

    let tokenizer = parts.path("dnabert_s/tokenizer.json");
    let json = fs::read_to_string(&tokenizer).unwrap();
    fs::remove_file(&tokenizer).unwrap();
    refused(&parts, &parts.recipe, &["dnabert_s/tokenizer.json: not found"]);
    fs::write(&tokenizer, json.replace("\"ACGT\": 9", "\"ACGT\": 9, \"x")).unwrap();
    refused(&parts, &parts.recipe, &["dnabert_s/tokenizer.json"]);
    let many: String = (10..600).map(|id| format!(", \"{id}\": {id}")).collect();
    fs::write(&tokenizer, json.replace("\"ACGT\": 9", &format!("\"ACGT\": 9{many}"))).unwrap();
    refused(&parts, &parts.recipe, &["600 token ids, the model has embeddings for 512"]);
    fs::write(&tokenizer, json).unwrap();

    let weights = parts.path("dnabert_s/model.safetensors");
    let mut tensors = Tensors::of(&Checkpoint::open(&weights).unwrap());
    tensors.0.remove("encoder.layer.2.mlp.wo.bias");
    fs::write(&weights, tensors.safetensors()).unwrap();
    refused(&parts, &parts.recipe, &["encoder.layer.2.mlp.wo.bias is missing"]);
}

#[test]
fn bundle_existing_output_is_refused_and_untouched() {
    let parts = Parts::new();
    let refused = |output: &Path| {
        let error = bundle::create(&parts.recipe, output).unwrap_err();
        assert!(matches!(error, ModelError::OutputExists { .. }), "{error}");
    };
    for name in ["out", "out.vnp"] {
        let output = parts.path(name);
        fs::write(&output, "precious").unwrap();
        refused(&output);
        assert_eq!(fs::read_to_string(&output).unwrap(), "precious");
    }
    let folder = parts.path("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("precious"), "").unwrap();
    refused(&folder);
    assert_eq!(listing(&folder), ["precious"]);
    let empty = parts.path("empty.vnp");
    fs::create_dir(&empty).unwrap();
    refused(&empty);
    // What a killed run leaves behind is not removed without being asked.
    fs::create_dir(parts.path("killed.partial")).unwrap();
    refused(&parts.path("killed"));
    assert!(parts.path("killed.partial").exists());
}

#[test]
fn bundle_mini_is_whole() {
    let bundle = Bundle::mini().unwrap();
    assert_eq!((bundle.source(), bundle.chunk_lengths()), ("mini", vec![300, 500]));
    assert_eq!(bundle.protein_encoder().unwrap().config().architecture(), "ESM-2");
    assert_eq!(bundle.nucleotide_encoder().unwrap().config().architecture(), "DNABERT-S");
    let on_disk = Bundle::open(&crate::support::repository("models/mini")).unwrap();
    assert_eq!(on_disk.manifest(), bundle.manifest());
}
