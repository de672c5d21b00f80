//! Weights as they lie on the device.

use super::linear_kernel::LinearStep;
use super::memory::DeviceBuffer;
use super::upload::{Fold, bytes_of};
use super::{CudaBackend, CudaError};
use crate::{BackendError, NormWeights, NormedLinear, TensorView};

/// The weight matrix `[out_features, in_features]` and the bias of a linear layer, row-major, in
/// the element type of the device.
#[derive(Debug)]
pub struct CudaLinear {
    pub(super) weights: DeviceBuffer,
    pub(super) bias: Option<DeviceBuffer>,
    pub(super) out_features: usize,
    pub(super) in_features: usize,
    /// Whether scale, shift and mean of the LayerNorm before it are in the weights, so that one
    /// factor for each row does what is left of it.
    pub(super) is_folded: bool,
}

/// An embedding table `[vocab, hidden_size]`, row-major, in the element type of the device.
#[derive(Debug)]
pub struct CudaTable {
    pub(super) values: DeviceBuffer,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// A vector of f32 weights.
#[derive(Debug)]
pub struct CudaVector {
    pub(super) values: DeviceBuffer,
    pub(super) len: usize,
}

impl CudaBackend {
    pub(super) fn stack(
        &self,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<CudaLinear, BackendError> {
        let (out_features, in_features) = stacked_extents(weights, biases)?;
        let matrix = self.buffer_of_elements(out_features * in_features)?;
        self.put_all(weights, &matrix)?;
        let bias = match biases {
            [] => None,
            biases => {
                let vector = self.buffer_of_elements(out_features)?;
                self.put_all(biases, &vector)?;
                Some(vector)
            }
        };
        Ok(CudaLinear { weights: matrix, bias, out_features, in_features, is_folded: false })
    }

    /// A layer with the LayerNorm before it folded into it, where there is a kernel that needs no
    /// more than a factor for each row.
    pub(super) fn stack_behind(
        &self,
        norm: NormWeights<'_>,
        weights: &[TensorView<'_>],
        biases: &[TensorView<'_>],
    ) -> Result<NormedLinear<Self>, BackendError> {
        let (out_features, in_features) = stacked_extents(weights, biases)?;
        if biases.is_empty()
            || self.linear_kernel(LinearStep::Gelu, out_features, in_features).is_none()
        {
            return NormedLinear::as_stored(self, norm, weights, biases);
        }
        self.context.bind()?;
        let NormWeights { gamma, beta, eps } = norm;
        BackendError::expect("normed_linear", "length of gamma", gamma.len(), in_features)?;
        BackendError::expect("normed_linear", "length of beta", beta.len(), in_features)?;
        let (gamma, beta) = (self.stored_vector(gamma)?, self.stored_vector(beta)?);
        let mut stored_bias = Vec::with_capacity(out_features);
        for bias in biases {
            stored_bias.extend(bias.to_f32_vec()?);
        }
        let stored_bias = self.floats(&stored_bias)?;
        let matrix = self.buffer_of_elements(out_features * in_features)?;
        let bias = self.buffer_of_elements(out_features)?;
        let fold = Fold {
            gamma: &gamma,
            beta: &beta,
            stored_bias: &stored_bias,
            weights: &matrix,
            bias: &bias,
        };
        let mut uploader = self.uploader();
        let mut row = 0;
        for weight in weights {
            uploader.put_folded(&self.kernels, weight, &fold, row)?;
            row += weight.shape()[0];
        }
        uploader.finish()?;
        Ok(NormedLinear {
            gamma: self.stored_vector(&vec![1.0; in_features])?,
            beta: self.stored_vector(&vec![0.0; in_features])?,
            eps,
            linear: CudaLinear {
                weights: matrix,
                bias: Some(bias),
                out_features,
                in_features,
                is_folded: true,
            },
        })
    }

    pub(super) fn stored_table(&self, table: &TensorView<'_>) -> Result<CudaTable, BackendError> {
        BackendError::expect("table", "number of dimensions", table.shape().len(), 2)?;
        let (rows, cols) = (table.shape()[0], table.shape()[1]);
        let values = self.buffer_of_elements(rows * cols)?;
        self.put_all(std::slice::from_ref(table), &values)?;
        Ok(CudaTable { values, rows, cols })
    }

    pub(super) fn stored_vector(&self, values: &[f32]) -> Result<CudaVector, CudaError> {
        Ok(CudaVector { values: self.floats(values)?, len: values.len() })
    }

    /// f32 values on the device.
    pub(super) fn floats(&self, values: &[f32]) -> Result<DeviceBuffer, CudaError> {
        let bytes = bytes_of(values);
        let buffer = DeviceBuffer::new(&self.context, bytes.len())?;
        // SAFETY: the buffer is as large as the bytes, which live until the copy is done.
        unsafe { self.compute.copy_htod(buffer.address(), &bytes) }?;
        self.compute.synchronize()?;
        Ok(buffer)
    }

    fn buffer_of_elements(&self, count: usize) -> Result<DeviceBuffer, CudaError> {
        DeviceBuffer::new(&self.context, count * self.precision.size_bytes())
    }

    fn put_all(&self, tensors: &[TensorView<'_>], to: &DeviceBuffer) -> Result<(), BackendError> {
        self.context.bind()?;
        let mut uploader = self.uploader();
        let mut first = 0;
        for tensor in tensors {
            uploader.put(&self.kernels, tensor, to, first)?;
            first += tensor.shape().iter().product::<usize>();
        }
        Ok(uploader.finish()?)
    }
}

/// `out_features` and `in_features` of weights stacked along the output.
fn stacked_extents(
    weights: &[TensorView<'_>],
    biases: &[TensorView<'_>],
) -> Result<(usize, usize), BackendError> {
    const OP: &str = "linear_weights";
    let dimensions = |view: Option<&TensorView<'_>>| view.map_or(0, |v| v.shape().len());
    BackendError::expect(OP, "number of weight dimensions", dimensions(weights.first()), 2)?;
    let in_features = weights[0].shape()[1];
    let mut out_features = 0;
    for weight in weights {
        BackendError::expect(OP, "number of weight dimensions", weight.shape().len(), 2)?;
        BackendError::expect(OP, "in_features", weight.shape()[1], in_features)?;
        out_features += weight.shape()[0];
    }
    if !biases.is_empty() {
        BackendError::expect(OP, "number of biases", biases.len(), weights.len())?;
        for (weight, bias) in weights.iter().zip(biases) {
            let length = bias.shape().iter().product();
            BackendError::expect(OP, "bias length", length, weight.shape()[0])?;
        }
    }
    Ok((out_features, in_features))
}
