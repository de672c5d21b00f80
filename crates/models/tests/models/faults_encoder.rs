//! One tensor of an encoder removed, added, reshaped or turned into integers.

use safetensors::tensor::Dtype;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::{EncoderSource, ModelError};
use virnucpro_weights::{Bytes, Checkpoint, WeightsError};

use crate::support::assert_one_line;
use crate::support::models::{dnabert_s_file, esm2_folder};
use crate::support::tensors::{Stored, Tensors};

/// An encoder and what is particular about its tensors.
struct Subject {
    config: Bytes,
    tensors: Tensors,
    /// The tensor by which the layout is told.
    table: &'static str,
    /// Parts of names that the forward does not use.
    unused: &'static [&'static str],
}

const FILE: &str = "model/model.safetensors";

impl Subject {
    fn esm2() -> Self {
        Self {
            config: Bytes::map(&esm2_folder().join("config.json")).unwrap(),
            tensors: Tensors::of(&Checkpoint::open(&esm2_folder()).unwrap()),
            table: "esm.embeddings.word_embeddings.weight",
            unused: &["contact_head", "inv_freq"],
        }
    }

    fn dnabert_s() -> Self {
        let weights = dnabert_s_file("model.safetensors");
        Self {
            config: Bytes::map(&dnabert_s_file("config.json")).unwrap(),
            tensors: Tensors::of(&Checkpoint::open(&weights).unwrap()),
            table: "embeddings.word_embeddings.weight",
            unused: &["pooler"],
        }
    }

    fn used_names(&self) -> Vec<String> {
        let is_used = |name: &&String| !self.unused.iter().any(|part| name.contains(part));
        self.tensors.0.keys().filter(is_used).cloned().collect()
    }

    /// Loads the model with its tensors changed.
    fn load(&self, change: impl FnOnce(&mut Tensors)) -> Result<(), ModelError> {
        let mut tensors = self.tensors.clone();
        change(&mut tensors);
        let checkpoint = tensors.checkpoint(FILE);
        let source = EncoderSource::from_parts("model", self.config.clone(), checkpoint, None)?;
        let checked = source.check();
        let loaded = source.load(&CpuBackend::new(1).unwrap()).map(drop);
        assert_eq!(checked.is_ok(), loaded.is_ok(), "both look at every tensor");
        loaded
    }

    fn check_every_tensor(&self) {
        assert!(self.load(|_| ()).is_ok());
        assert!(self.used_names().len() > 30);
        for name in self.used_names() {
            let error = self.load(|t| drop(t.0.remove(&name))).unwrap_err();
            // Of the older spelling of a LayerNorm's scale, the newer one is missed.
            let expected = name.replace(".gamma", ".weight");
            let expected = if name == self.table { name.replace("esm.", "") } else { expected };
            assert_one_line(&error, &[FILE, &expected]);
            if name != self.table {
                assert_one_line(&error, &["is missing"]);
            }

            let error = self.load(|t| {
                let tensor = t.get_mut(&name);
                tensor.shape = match tensor.shape[..] {
                    [rows, cols] if rows != cols => vec![cols, rows],
                    [rows, cols] => vec![rows * cols],
                    _ => [&[1], &tensor.shape[..]].concat(),
                };
            });
            let error = error.unwrap_err();
            assert!(matches!(error, ModelError::Weights(WeightsError::WrongShape { .. })));
            assert_one_line(&error, &[FILE, &name, "has shape", "expected"]);

            let error = self.load(|t| t.get_mut(&name).dtype = Dtype::I32).unwrap_err();
            assert!(matches!(error, ModelError::Weights(WeightsError::WrongDType { .. })));
            assert_one_line(&error, &[FILE, &name, "I32"]);
        }
        for extra in ["extra.weight", "encoder.layer.3.LayerNorm.weight"] {
            let error = self.load(|t| {
                t.0.insert(extra.into(), Stored::f32(&[2], &[0.0, 1.0]));
            });
            assert_one_line(&error.unwrap_err(), &[FILE, "unexpected tensor", extra]);
        }
        for name in self.tensors.0.keys().filter(|name| !self.used_names().contains(name)) {
            assert!(self.load(|t| drop(t.0.remove(name))).is_ok(), "{name} is not used");
        }
    }
}

#[test]
fn esm2_every_tensor_missing_misshapen_or_integer_is_named() {
    Subject::esm2().check_every_tensor();
}

#[test]
fn dnabert_s_every_tensor_missing_misshapen_or_integer_is_named() {
    Subject::dnabert_s().check_every_tensor();
}

#[test]
fn esm2_without_language_model_head_loads_and_has_no_logits() {
    let subject = Subject::esm2();
    assert!(subject.load(|t| t.0.retain(|name, _| !name.starts_with("lm_head."))).is_ok());
    let backend = CpuBackend::new(1).unwrap();
    let mut tensors = subject.tensors.clone();
    tensors.0.retain(|name, _| !name.starts_with("lm_head."));
    let checkpoint = tensors.checkpoint(FILE);
    let source = EncoderSource::from_parts("model", subject.config.clone(), checkpoint, None);
    let encoder = source.unwrap().load(&backend).unwrap();
    let model = crate::support::golden::esm2(&encoder);
    let batch = crate::support::random::Random::new(1).batch(&[3], 33);
    let on_device = crate::support::models::upload(&backend, &batch);
    let hidden = model.hidden_states(&backend, &on_device, 3).unwrap();
    assert!(matches!(model.logits(&backend, &hidden), Err(ModelError::NoLmHead)));
    let error = model.hidden_states(&backend, &on_device, 4).unwrap_err();
    assert!(matches!(error, ModelError::NoSuchLayer { layer: 4, last: 3 }));
}
