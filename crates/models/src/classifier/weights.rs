//! The tensors of a classifier, with the batch norm folded away.

use virnucpro_backend::{Backend, DType, TensorView};
use virnucpro_weights::{Checkpoint, Value, WeightsError};

use crate::ModelError;

/// `eps` of PyTorch's `BatchNorm1d`, used when the file does not carry its own.
///
/// # Source
/// PyTorch: torch.nn.BatchNorm1d; SPEC of the original tool states the same.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Names of the tensors a classifier consists of, without `bn1.num_batches_tracked`.
pub(crate) fn tensor_names() -> [&'static str; 8] {
    [
        "hidden_layer.weight",
        "hidden_layer.bias",
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "output_layer.weight",
        "output_layer.bias",
    ]
}

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
    pub(super) fn read(checkpoint: &Checkpoint) -> Result<Self, ModelError> {
        let file = checkpoint.source();
        let shape = checkpoint.tensor("hidden_layer.weight").map(|tensor| tensor.shape());
        let [hidden_size, num_features] = match shape {
            Some(&[hidden, features]) if hidden > 0 && features > 0 => [hidden, features],
            Some(shape) => {
                let reason = format!("hidden_layer.weight has shape {shape:?}, expected a matrix");
                return Err(ModelError::config(file, reason));
            }
            None => {
                return Err(ModelError::Weights(WeightsError::MissingTensor {
                    file: file.to_owned(),
                    name: "hidden_layer.weight".into(),
                }));
            }
        };
        let mut reader = checkpoint.reader();
        let mut take = |name: &str, shape: &[usize]| -> Result<Vec<f32>, ModelError> {
            Ok(reader.take(name, shape)?.to_f32_vec()?)
        };
        let weight = take("hidden_layer.weight", &[hidden_size, num_features])?;
        let bias = take("hidden_layer.bias", &[hidden_size])?;
        let gamma = take("bn1.weight", &[hidden_size])?;
        let beta = take("bn1.bias", &[hidden_size])?;
        let mean = take("bn1.running_mean", &[hidden_size])?;
        let variance = take("bn1.running_var", &[hidden_size])?;
        let output_weight = take("output_layer.weight", &[2, hidden_size])?;
        let output_bias = take("output_layer.bias", &[2])?;
        if checkpoint.contains("bn1.num_batches_tracked") {
            reader.take_as("bn1.num_batches_tracked", &[], &[DType::I64])?;
        }
        reader.finish(&[])?;

        let eps = batch_norm_eps(checkpoint).unwrap_or(BATCH_NORM_EPS);
        let mut hidden_weight = Vec::with_capacity(weight.len());
        let mut hidden_bias = Vec::with_capacity(hidden_size);
        for (unit, row) in weight.chunks_exact(num_features).enumerate() {
            let spread = (f64::from(variance[unit]) + eps).sqrt();
            if spread.is_nan() || spread <= 0.0 {
                let reason = format!("bn1.running_var[{unit}] is {}", variance[unit]);
                return Err(ModelError::config(file, reason));
            }
            let scale = f64::from(gamma[unit]) / spread;
            hidden_weight.extend(row.iter().map(|&w| (f64::from(w) * scale) as f32));
            let centred = f64::from(bias[unit]) - f64::from(mean[unit]);
            hidden_bias.push((centred * scale + f64::from(beta[unit])) as f32);
        }
        Ok(Self {
            num_features,
            hidden_size,
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

/// `eps` of the batch norm in a pickled whole module.
fn batch_norm_eps(checkpoint: &Checkpoint) -> Option<f64> {
    let modules = checkpoint.root()?.attr("_modules")?;
    modules.get("bn1")?.attr("eps").and_then(Value::as_f64)
}
