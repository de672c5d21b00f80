//! The tensors of a classifier as they lie in a checkpoint, found and checked.

use virnucpro_backend::{DType, TensorView};
use virnucpro_weights::{Checkpoint, Value, WeightsError};

use crate::ModelError;

/// `eps` of PyTorch's `BatchNorm1d`, used when the file does not carry its own.
///
/// # Source
/// PyTorch: torch.nn.BatchNorm1d.
const BATCH_NORM_EPS: f64 = 1e-5;

/// Metadata key under which a converted classifier keeps its `eps`.
pub(crate) const EPS_KEY: &str = "batch_norm_eps";

/// The tensor by which a checkpoint is known to be a classifier.
pub(crate) const FIRST_LAYER: &str = "hidden_layer.weight";

/// A counter that training keeps; not used.
const BATCHES_TRACKED: &str = "bn1.num_batches_tracked";

/// Checked views of every tensor the classifier uses.
pub(crate) struct StoredClassifier<'a> {
    /// `[hidden_size, num_features]`.
    pub(super) hidden_weight: TensorView<'a>,
    /// The vectors below are `[hidden_size]`.
    pub(super) hidden_bias: TensorView<'a>,
    pub(super) gamma: TensorView<'a>,
    pub(super) beta: TensorView<'a>,
    pub(super) mean: TensorView<'a>,
    pub(super) variance: TensorView<'a>,
    /// `[2, hidden_size]`.
    pub(super) output_weight: TensorView<'a>,
    /// `[2]`.
    pub(super) output_bias: TensorView<'a>,
    /// Added to the running variance.
    pub(crate) eps: f64,
}

impl<'a> StoredClassifier<'a> {
    /// Checks every tensor's name, shape and type; the first layer decides the sizes.
    pub(crate) fn take(checkpoint: &'a Checkpoint) -> Result<Self, ModelError> {
        let file = checkpoint.source();
        let missing = || {
            let (file, name) = (file.to_owned(), FIRST_LAYER.to_owned());
            WeightsError::MissingTensor { file, name }
        };
        let shape = checkpoint.tensor(FIRST_LAYER).ok_or_else(missing)?.shape();
        let &[hidden_size, num_features] = shape else {
            let reason = format!("tensor {FIRST_LAYER} has shape {shape:?}, expected a matrix");
            return Err(ModelError::config(file, reason));
        };
        if hidden_size == 0 || num_features == 0 {
            let reason = format!("tensor {FIRST_LAYER} has shape {shape:?}, which is empty");
            return Err(ModelError::config(file, reason));
        }
        let mut reader = checkpoint.reader();
        let stored = Self {
            hidden_weight: reader.take(FIRST_LAYER, &[hidden_size, num_features])?,
            hidden_bias: reader.take("hidden_layer.bias", &[hidden_size])?,
            gamma: reader.take("bn1.weight", &[hidden_size])?,
            beta: reader.take("bn1.bias", &[hidden_size])?,
            mean: reader.take("bn1.running_mean", &[hidden_size])?,
            variance: reader.take("bn1.running_var", &[hidden_size])?,
            output_weight: reader.take("output_layer.weight", &[2, hidden_size])?,
            output_bias: reader.take("output_layer.bias", &[2])?,
            eps: eps(checkpoint)?,
        };
        if checkpoint.contains(BATCHES_TRACKED) {
            reader.take_as(BATCHES_TRACKED, &[], &[DType::I64])?;
        }
        reader.finish(&[])?;
        Ok(stored)
    }

    /// Width of a row of features.
    pub(crate) fn num_features(&self) -> usize {
        self.hidden_weight.shape()[1]
    }

    /// Every tensor with its name.
    pub(crate) fn tensors(&self) -> [(&'static str, TensorView<'a>); 8] {
        [
            (FIRST_LAYER, self.hidden_weight.clone()),
            ("hidden_layer.bias", self.hidden_bias.clone()),
            ("bn1.weight", self.gamma.clone()),
            ("bn1.bias", self.beta.clone()),
            ("bn1.running_mean", self.mean.clone()),
            ("bn1.running_var", self.variance.clone()),
            ("output_layer.weight", self.output_weight.clone()),
            ("output_layer.bias", self.output_bias.clone()),
        ]
    }
}

/// `eps` of the batch norm: of a pickled whole module, or as a conversion noted it.
fn eps(checkpoint: &Checkpoint) -> Result<f64, ModelError> {
    let bad = |text: &str| {
        let reason = format!("the batch norm's eps is {text}, not a small positive number");
        ModelError::config(checkpoint.source(), reason)
    };
    let of_module = || -> Option<f64> {
        let modules = checkpoint.root()?.attr("_modules")?;
        modules.get("bn1")?.attr("eps").and_then(Value::as_f64)
    };
    let eps = match checkpoint.metadata().get(EPS_KEY) {
        Some(text) => text.parse().map_err(|_| bad(text))?,
        None => of_module().unwrap_or(BATCH_NORM_EPS),
    };
    if (0.0..=1.0).contains(&eps) { Ok(eps) } else { Err(bad(&eps.to_string())) }
}
