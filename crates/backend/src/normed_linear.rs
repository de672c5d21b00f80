//! A LayerNorm and the linear layer behind it, as one thing.

use crate::{Backend, BackendError, TensorView};

/// Weights of a LayerNorm, on the host.
#[derive(Clone, Copy, Debug)]
pub struct NormWeights<'a> {
    /// Scale `[hidden_size]`.
    pub gamma: &'a [f32],
    /// Shift `[hidden_size]`.
    pub beta: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

/// A LayerNorm and the linear layer behind it, on the device.
///
/// A device may have made scale and shift a part of the layer; `gamma` is then 1 and `beta` 0
/// everywhere. Either way normalising with these and multiplying with `linear` is what it stands
/// for.
pub struct NormedLinear<B: Backend> {
    /// Scale of the norm.
    pub gamma: B::Vector,
    /// Shift of the norm.
    pub beta: B::Vector,
    /// Added to the variance.
    pub eps: f32,
    /// The layer.
    pub linear: B::Linear,
}

impl<B: Backend> NormedLinear<B> {
    /// The two as they are stored.
    ///
    /// # Shape
    /// As for [`Backend::normed_linear_weights`].
    ///
    /// # Errors
    /// Those of [`Backend::linear_weights`], or a norm of another width.
    pub fn as_stored(
        backend: &B,
        NormWeights { gamma, beta, eps }: NormWeights<'_>,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<Self, BackendError> {
        let in_features = weights.first().and_then(|view| view.shape().get(1)).copied();
        let in_features = in_features.unwrap_or_default();
        BackendError::expect("normed_linear", "length of gamma", gamma.len(), in_features)?;
        BackendError::expect("normed_linear", "length of beta", beta.len(), in_features)?;
        Ok(Self {
            gamma: backend.vector(gamma)?,
            beta: backend.vector(beta)?,
            eps,
            linear: backend.linear_weights(weights, biases)?,
        })
    }
}
