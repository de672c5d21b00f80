//! A checkpoint taken apart, to be put together again with something changed.

use std::collections::BTreeMap;

use safetensors::tensor::{Dtype, TensorView};
use virnucpro_backend::DType;
use virnucpro_weights::{Bytes, Checkpoint};

use super::random::Random;

/// One tensor on its own.
#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

impl Stored {
    pub(crate) fn f32(shape: &[usize], values: &[f32]) -> Self {
        let data = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Self { dtype: Dtype::F32, shape: shape.to_vec(), data }
    }

    fn view(&self) -> TensorView<'_> {
        TensorView::new(self.dtype, self.shape.clone(), &self.data).unwrap()
    }
}

/// Named tensors.
#[derive(Clone, Default)]
pub(crate) struct Tensors(pub(crate) BTreeMap<String, Stored>);

impl Tensors {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let stored = |name: &str| {
            let view = checkpoint.get(name).unwrap();
            let dtype = match view.dtype() {
                DType::F32 => Dtype::F32,
                DType::F16 => Dtype::F16,
                DType::I64 => Dtype::I64,
                other => panic!("{name} is {other}"),
            };
            Stored { dtype, shape: view.shape().to_vec(), data: view.data().to_vec() }
        };
        Self(checkpoint.names().map(|name| (name.to_owned(), stored(name))).collect())
    }

    /// A classifier with random weights and plausible running statistics.
    pub(crate) fn random_classifier(seed: u64, num_features: usize, hidden_size: usize) -> Self {
        let mut random = Random::new(seed);
        let mut tensors = Self::default();
        let mut add = |name: &str, shape: &[usize], scale: f32, shift: f32| {
            let mut values = random.values(shape.iter().product(), scale);
            values.iter_mut().for_each(|v| *v += shift);
            tensors.0.insert(name.to_owned(), Stored::f32(shape, &values));
        };
        add("hidden_layer.weight", &[hidden_size, num_features], 0.1, 0.0);
        add("hidden_layer.bias", &[hidden_size], 0.1, 0.0);
        add("bn1.weight", &[hidden_size], 0.5, 1.0);
        add("bn1.bias", &[hidden_size], 0.5, 0.0);
        add("bn1.running_mean", &[hidden_size], 0.5, 0.0);
        add("bn1.running_var", &[hidden_size], 0.5, 1.0);
        add("output_layer.weight", &[2, hidden_size], 0.5, 0.0);
        add("output_layer.bias", &[2], 0.5, 0.0);
        tensors
    }

    pub(crate) fn safetensors(&self) -> Vec<u8> {
        self.safetensors_with(&[])
    }

    pub(crate) fn safetensors_with(&self, metadata: &[(&str, &str)]) -> Vec<u8> {
        let views = self.0.iter().map(|(name, tensor)| (name.as_str(), tensor.view()));
        let pairs = metadata.iter().map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let metadata = (!metadata.is_empty()).then(|| pairs.collect());
        safetensors::serialize(views, metadata).unwrap()
    }

    pub(crate) fn checkpoint(&self, name: &str) -> Checkpoint {
        Checkpoint::from_bytes(name, Bytes::from(self.safetensors())).unwrap()
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> &mut Stored {
        self.0.get_mut(name).unwrap()
    }
}
