//! The classifier's two layers on the host, with the batch norm folded away.

use virnucpro_backend::{Backend, DType, TensorView};
use virnucpro_weights::Checkpoint;

use super::stored::StoredClassifier;
use crate::ModelError;

/// Both layers on the host, f32 little-endian.
pub(super) struct FoldedWeights {
    pub(super) num_features: usize,
    pub(super) hidden_size: usize,
    hidden_weight: Vec<u8>,
    hidden_bias: Vec<u8>,
    output_weight: Vec<u8>,
    output_bias: Vec<u8>,
}

fn bytes(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

impl FoldedWeights {
    /// Reads and folds the weights; `file` names them in errors.
    ///
    /// One value that is not a number would make every score one, so all are looked at.
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let file = checkpoint.source();
        let stored = StoredClassifier::take(checkpoint)?;
        let mut values = Vec::with_capacity(8);
        for (name, tensor) in stored.tensors() {
            let tensor = tensor.to_f32_vec()?;
            if let Some(at) = tensor.iter().position(|value| !value.is_finite()) {
                let reason = format!("tensor {name}: element {at} is {}", tensor[at]);
                return Err(ModelError::config(file, reason));
            }
            values.push(tensor);
        }
        let [weight, bias, gamma, beta, mean, variance, output_weight, output_bias] =
            <[Vec<f32>; 8]>::try_from(values).expect("one entry for each of the eight tensors");

        let num_features = stored.num_features();
        let mut hidden_weight = Vec::with_capacity(weight.len());
        let mut hidden_bias = Vec::with_capacity(bias.len());
        for (unit, row) in weight.chunks_exact(num_features).enumerate() {
            let spread = (f64::from(variance[unit]) + stored.eps).sqrt();
            if variance[unit] < 0.0 || spread == 0.0 {
                let reason =
                    format!("tensor bn1.running_var: element {unit} is {}", variance[unit]);
                return Err(ModelError::config(file, reason));
            }
            let scale = f64::from(gamma[unit]) / spread;
            hidden_weight.extend(row.iter().map(|&w| (f64::from(w) * scale) as f32));
            let centred = f64::from(bias[unit]) - f64::from(mean[unit]);
            hidden_bias.push((centred * scale + f64::from(beta[unit])) as f32);
        }
        Ok(Self {
            num_features,
            hidden_size: bias.len(),
            hidden_weight: bytes(hidden_weight),
            hidden_bias: bytes(hidden_bias),
            output_weight: bytes(output_weight),
            output_bias: bytes(output_bias),
        })
    }

    pub(super) fn hidden<B: Backend>(&self, backend: &B) -> Result<B::Linear, ModelError> {
        let shape = [self.hidden_size, self.num_features];
        linear(backend, shape, &self.hidden_weight, &self.hidden_bias)
    }

    pub(super) fn output<B: Backend>(&self, backend: &B) -> Result<B::Linear, ModelError> {
        linear(backend, [2, self.hidden_size], &self.output_weight, &self.output_bias)
    }
}

fn linear<B: Backend>(
    backend: &B,
    [outputs, inputs]: [usize; 2],
    weight: &[u8],
    bias: &[u8],
) -> Result<B::Linear, ModelError> {
    let view = |shape: Vec<usize>, data| {
        TensorView::new(DType::F32, shape, data).expect("the values were made for this shape")
    };
    let weight = view(vec![outputs, inputs], weight);
    let bias = view(vec![outputs], bias);
    Ok(backend.linear_weights(&[weight], &[bias])?)
}
