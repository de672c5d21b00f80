//! The classifier against PyTorch (f32, eval mode), from a pickled module and a state dict.

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::tolerance::HEAD_F32;
use virnucpro_models::{Classifier, ModelError};
use virnucpro_weights::Checkpoint;

use crate::support::golden::{Expectations, assert_close};
use crate::support::testdata;

#[test]
fn golden_classifier_from_both_layouts() {
    let backend = CpuBackend::new(2).unwrap();
    let expected = Expectations::open(&testdata("golden/head/mlp_3328x64.expected.safetensors"));
    let x = expected.get("x").unwrap();
    for file in ["mlp_3328x64.pth", "mlp_3328x64.state_dict.pth"] {
        let checkpoint = Checkpoint::open(&testdata(&format!("golden/head/{file}"))).unwrap();
        let classifier = Classifier::load(&backend, &checkpoint).unwrap();
        assert_eq!(classifier.num_features(), 3328);
        let scores = classifier.score(&backend, &x.values).unwrap();
        let logits: Vec<f32> = scores.iter().flat_map(|s| s.logits).collect();
        let probabilities: Vec<f32> = scores.iter().flat_map(|s| s.probabilities).collect();
        assert_close(file, &logits, expected.get("logits").unwrap(), HEAD_F32);
        assert_close(file, &probabilities, expected.get("probabilities").unwrap(), HEAD_F32);

        let alone = classifier.score(&backend, &x.values[..3328]).unwrap();
        assert_eq!(alone[0], scores[0], "a row's score does not depend on its company");
        assert!(classifier.score(&backend, &[]).unwrap().is_empty());
        let error = classifier.score(&backend, &x.values[..3000]).unwrap_err();
        assert!(matches!(error, ModelError::FeatureWidth { expected: 3328, found: 3000 }));
    }
}
