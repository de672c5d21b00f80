//! Steps from checkpoint tensors to device weights that the encoders share.
//!
//! Everything is taken, and thereby checked, before anything is put on the device.

use virnucpro_backend::{Backend, NormWeights, NormedLinear, TensorView};
use virnucpro_weights::{TensorReader, WeightsError};

use crate::ModelError;

/// Scale and shift of a LayerNorm on the device.
pub(crate) struct Norm<B: Backend> {
    pub(crate) gamma: B::Vector,
    pub(crate) beta: B::Vector,
}

/// Takes `{name}.weight` and `{name}.bias`, or the older spelling `gamma` and `beta`.
pub(crate) fn take_norm<'a>(
    reader: &mut TensorReader<'a>,
    name: &str,
    size: usize,
) -> Result<[TensorView<'a>; 2], WeightsError> {
    let older = reader.take_optional(&format!("{name}.gamma"), &[size])?;
    match older {
        Some(gamma) => Ok([gamma, reader.take(&format!("{name}.beta"), &[size])?]),
        None => Ok([
            reader.take(&format!("{name}.weight"), &[size])?,
            reader.take(&format!("{name}.bias"), &[size])?,
        ]),
    }
}

/// Takes the weight `[outputs, inputs]` and bias `[outputs]` of a linear layer.
pub(crate) fn take_linear<'a>(
    reader: &mut TensorReader<'a>,
    name: &str,
    [outputs, inputs]: [usize; 2],
) -> Result<[TensorView<'a>; 2], WeightsError> {
    Ok([
        reader.take(&format!("{name}.weight"), &[outputs, inputs])?,
        reader.take(&format!("{name}.bias"), &[outputs])?,
    ])
}

/// Puts a LayerNorm on the device.
pub(crate) fn norm<B: Backend>(
    backend: &B,
    [gamma, beta]: &[TensorView<'_>; 2],
) -> Result<Norm<B>, ModelError> {
    Ok(Norm {
        gamma: backend.vector(&gamma.to_f32_vec()?)?,
        beta: backend.vector(&beta.to_f32_vec()?)?,
    })
}

/// Puts a LayerNorm and the linear layer behind it on the device; `weights` stack.
pub(crate) fn normed_linear<B: Backend>(
    backend: &B,
    [gamma, beta]: &[TensorView<'_>; 2],
    eps: f32,
    weights: &[TensorView<'_>],
    biases: &[TensorView<'_>],
) -> Result<NormedLinear<B>, ModelError> {
    let (gamma, beta) = (gamma.to_f32_vec()?, beta.to_f32_vec()?);
    let norm = NormWeights { gamma: &gamma, beta: &beta, eps };
    Ok(backend.normed_linear_weights(norm, weights, biases)?)
}

/// Puts a linear layer on the device.
pub(crate) fn linear<B: Backend>(
    backend: &B,
    [weight, bias]: &[TensorView<'_>; 2],
) -> Result<B::Linear, ModelError> {
    Ok(backend.linear_weights(std::slice::from_ref(weight), std::slice::from_ref(bias))?)
}
