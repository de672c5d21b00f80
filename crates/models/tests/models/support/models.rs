//! Small models on disk.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use virnucpro_backend::{Backend, PackedView};
use virnucpro_batch::PackedBatch;
use virnucpro_models::EncoderSource;
use virnucpro_models::bundle::{BundleRecipe, ClassifierFile};
use virnucpro_weights::{Bytes, Checkpoint};

use super::tensors::Tensors;
use super::testdata;

pub(crate) const ESM2: &str = "esm2_d64_l3_h4";
pub(crate) const DNABERT_S: &str = "dnabert_s_d64_l3_h4";

/// Features that the two models above give together.
pub(crate) const NUM_FEATURES: usize = 128;

/// A byte-pair tokenizer of the four letters, for a DNABERT-S model of any vocabulary.
pub(crate) const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [
    {"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true},
    {"id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true},
    {"id": 2, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true}],
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
     "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
     "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                        "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
    "model": {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": false,
     "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "A": 3, "C": 4, "G": 5, "T": 6, "AC": 7,
               "GT": 8, "ACGT": 9},
     "merges": ["A C", "G T", "AC GT"]}}"#;

/// The golden ESM-2 model in Hugging Face layout.
pub(crate) fn esm2_folder() -> PathBuf {
    testdata(&format!("golden/esm2/{ESM2}.hf"))
}

/// One file of the golden DNABERT-S model.
pub(crate) fn dnabert_s_file(ending: &str) -> PathBuf {
    testdata(&format!("golden/dnabert_s/{DNABERT_S}.{ending}"))
}

/// The golden DNABERT-S model without its tokenizer.
pub(crate) fn dnabert_s_source() -> EncoderSource {
    let config = Bytes::map(&dnabert_s_file("config.json")).unwrap();
    let checkpoint = Checkpoint::open(&dnabert_s_file("model.safetensors")).unwrap();
    EncoderSource::from_parts("dnabert_s", config, checkpoint, None).unwrap()
}

/// Lays the golden DNABERT-S model out as a folder; `weights` is `model.safetensors` or
/// `pytorch_model.bin`.
pub(crate) fn make_dnabert_s_folder(folder: &Path, weights: &str) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(dnabert_s_file("config.json"), folder.join("config.json")).unwrap();
    fs::copy(dnabert_s_file(weights), folder.join(weights)).unwrap();
    fs::write(folder.join("tokenizer.json"), TOKENIZER).unwrap();
}

/// Models to make bundles from, in a folder of their own.
pub(crate) struct Parts {
    pub(crate) place: TempDir,
    pub(crate) recipe: BundleRecipe,
}

impl Parts {
    /// Both golden encoders and two random classifiers: for 300 and 500, and for 1000.
    pub(crate) fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        make_dnabert_s_folder(&path("dnabert_s"), "model.safetensors");
        let mut classifiers = Vec::new();
        for (seed, chunk_lengths) in [(1, vec![300, 500]), (2, vec![1000])] {
            let path = path(&format!("head{seed}.safetensors"));
            let classifier = Tensors::random_classifier(seed, NUM_FEATURES, 16);
            fs::write(&path, classifier.safetensors()).unwrap();
            classifiers.push(ClassifierFile { chunk_lengths, path });
        }
        let recipe = BundleRecipe {
            name: "small".into(),
            protein_encoder: esm2_folder(),
            nucleotide_encoder: path("dnabert_s"),
            classifiers,
        };
        Self { place, recipe }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }
}

/// Brings a packed batch to a device.
pub(crate) fn upload<B: Backend>(backend: &B, batch: &PackedBatch) -> B::Batch {
    let view = PackedView::new(
        batch.input_ids(),
        batch.cu_seqlens(),
        batch.position_ids(),
        batch.max_seqlen(),
    );
    backend.upload(view.unwrap()).unwrap()
}
