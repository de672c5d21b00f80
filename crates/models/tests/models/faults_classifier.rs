//! A classifier with one tensor removed, added, changed or spoilt.

use safetensors::tensor::Dtype;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::{Classifier, ModelError};
use virnucpro_weights::{Bytes, Checkpoint};

use crate::support::assert_one_line;
use crate::support::tensors::{Stored, Tensors};

const FILE: &str = "500_model.safetensors";

fn load_bytes(bytes: Vec<u8>) -> Result<Classifier<CpuBackend>, ModelError> {
    let checkpoint = Checkpoint::from_bytes(FILE, Bytes::from(bytes)).unwrap();
    Classifier::load(&CpuBackend::new(1).unwrap(), &checkpoint)
}

fn load(change: impl FnOnce(&mut Tensors)) -> Result<Classifier<CpuBackend>, ModelError> {
    let mut tensors = Tensors::random_classifier(3, 12, 5);
    change(&mut tensors);
    load_bytes(tensors.safetensors())
}

#[track_caller]
fn refused(parts: &[&str], change: impl FnOnce(&mut Tensors)) {
    let error = load(change).err().expect("a damaged classifier must be refused");
    assert_one_line(&error, &[FILE]);
    assert_one_line(&error, parts);
}

#[test]
fn classifier_every_tensor_missing_misshapen_or_integer_is_named() {
    assert_eq!(load(|_| ()).ok().unwrap().num_features(), 12);
    let names: Vec<String> = Tensors::random_classifier(3, 12, 5).0.into_keys().collect();
    assert_eq!(names.len(), 8);
    for name in &names {
        refused(&[name, "is missing"], |t| drop(t.0.remove(name)));
        refused(&[name, "has shape"], |t| t.get_mut(name).shape.push(1));
        refused(&[name, "I32"], |t| t.get_mut(name).dtype = Dtype::I32);
        for spoilt in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            refused(&[&format!("tensor {name}: element 1 is {spoilt}")], |t| {
                t.get_mut(name).data[4..8].copy_from_slice(&spoilt.to_le_bytes());
            });
        }
    }
    refused(&["unexpected tensor bn2.weight"], |t| {
        t.0.insert("bn2.weight".into(), Stored::f32(&[1], &[0.0]));
    });
    refused(&["output_layer.weight has shape [3, 5], expected [2, 5]"], |t| {
        *t.get_mut("output_layer.weight") = Stored::f32(&[3, 5], &[0.0; 15]);
    });
    refused(&["hidden_layer.weight has shape [0, 12], which is empty"], |t| {
        *t.get_mut("hidden_layer.weight") = Stored::f32(&[0, 12], &[]);
    });
    refused(&["hidden_layer.weight has shape [60], expected a matrix"], |t| {
        t.get_mut("hidden_layer.weight").shape = vec![60];
    });
}

#[test]
fn classifier_running_variance_that_cannot_be_is_refused() {
    let variance = |value: f32| {
        move |t: &mut Tensors| {
            let data = &mut t.get_mut("bn1.running_var").data;
            data[8..12].copy_from_slice(&value.to_le_bytes());
        }
    };
    // Less than eps below zero, so that the root alone would not show it.
    refused(&["bn1.running_var: element 2 is -0.000001"], variance(-1e-6));
    refused(&["bn1.running_var: element 2 is -1"], variance(-1.0));
    assert!(load(variance(0.0)).is_ok(), "a unit that never changes");
}

#[test]
fn classifier_eps_beside_the_tensors_is_used_and_must_be_a_small_number() {
    let tensors = Tensors::random_classifier(3, 12, 5);
    let with = |eps: &str| load_bytes(tensors.safetensors_with(&[("batch_norm_eps", eps)]));
    let backend = CpuBackend::new(1).unwrap();
    let score = |classifier: Classifier<CpuBackend>| {
        classifier.score(&backend, &[0.5; 12]).unwrap()[0].logits
    };
    let default = score(load(|_| ()).ok().unwrap());
    assert_eq!(score(with("1e-5").ok().unwrap()), default);
    assert_ne!(score(with("0.5").ok().unwrap()), default);
    for eps in ["", "x", "NaN", "inf", "-1e-5", "2"] {
        let error = with(eps).err().unwrap();
        assert_one_line(&error, &[FILE, "eps", "small positive number"]);
    }
}

#[test]
fn classifier_batch_counter_of_pytorch_is_accepted() {
    let add = |dtype| {
        move |t: &mut Tensors| {
            let counter = Stored { dtype, shape: vec![], data: 7i64.to_le_bytes().to_vec() };
            t.0.insert("bn1.num_batches_tracked".into(), counter);
        }
    };
    assert!(load(add(Dtype::I64)).is_ok());
    refused(&["bn1.num_batches_tracked", "F64"], add(Dtype::F64));
}
