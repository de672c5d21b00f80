//! Taking the tensors of a model out of a checkpoint, each with its expected shape.
//!
//! Owns the bookkeeping that makes missing, misshapen and left-over tensors errors; knows no
//! model. The entry type is [`TensorReader`].

use std::collections::BTreeSet;

use virnucpro_backend::{DType, TensorView};

use crate::checkpoint::Checkpoint;
use crate::error::{Result, WeightsError};
use crate::printable::printable;

/// Element types that [`TensorView::to_f32_vec`] accepts.
const FLOATS: [DType; 4] = [DType::F32, DType::F16, DType::BF16, DType::F64];

/// Tensor names that may be left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamePattern<'a> {
    /// This name.
    Exact(&'a str),
    /// Every name that starts so.
    Prefix(&'a str),
    /// Every name that ends so.
    Suffix(&'a str),
}

impl NamePattern<'_> {
    /// Whether `name` fits.
    pub fn matches(self, name: &str) -> bool {
        match self {
            Self::Exact(whole) => name == whole,
            Self::Prefix(start) => name.starts_with(start),
            Self::Suffix(end) => name.ends_with(end),
        }
    }
}

/// Takes tensors by name, checks them before their elements are touched, and remembers which
/// were used.
#[derive(Debug)]
pub struct TensorReader<'a> {
    checkpoint: &'a Checkpoint,
    used: BTreeSet<&'a str>,
}

impl<'a> TensorReader<'a> {
    pub(crate) fn new(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, used: BTreeSet::new() }
    }

    /// The floating-point tensor `name`, which must have exactly `shape`.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongShape`] or
    /// [`WeightsError::WrongDType`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<TensorView<'a>> {
        self.take_as(name, shape, &FLOATS)
    }

    /// Like [`TensorReader::take`], but a tensor that is not there is `None`.
    ///
    /// # Errors
    /// [`WeightsError::WrongShape`] or [`WeightsError::WrongDType`].
    pub fn take_optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<TensorView<'a>>> {
        if self.checkpoint.contains(name) { self.take(name, shape).map(Some) } else { Ok(None) }
    }

    /// The tensor `name`, which must have exactly `shape` and one of the element types `dtypes`.
    ///
    /// # Errors
    /// [`WeightsError::MissingTensor`], [`WeightsError::WrongShape`] or
    /// [`WeightsError::WrongDType`].
    pub fn take_as(
        &mut self,
        name: &str,
        shape: &[usize],
        dtypes: &[DType],
    ) -> Result<TensorView<'a>> {
        let (name, tensor) = self.checkpoint.entry(name).ok_or_else(|| {
            WeightsError::MissingTensor { file: self.file(), name: printable(name) }
        })?;
        if tensor.shape() != shape {
            return Err(WeightsError::WrongShape {
                file: self.file(),
                name: printable(name),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            });
        }
        if !dtypes.contains(&tensor.dtype()) {
            let expected: Vec<String> = dtypes.iter().map(DType::to_string).collect();
            return Err(WeightsError::WrongDType {
                file: self.file(),
                name: printable(name),
                expected: expected.join(" or "),
                found: tensor.dtype(),
            });
        }
        self.used.insert(name);
        Ok(tensor.view())
    }

    /// Ends the reading: every tensor must have been used or match one of `allowed_extra`.
    ///
    /// # Errors
    /// [`WeightsError::UnexpectedTensor`] with the first name that is left over.
    pub fn finish(self, allowed_extra: &[NamePattern<'_>]) -> Result<()> {
        let extra = self.checkpoint.names().find(|name| {
            !self.used.contains(name) && !allowed_extra.iter().any(|p| p.matches(name))
        });
        match extra {
            None => Ok(()),
            Some(name) => {
                Err(WeightsError::UnexpectedTensor { file: self.file(), name: printable(name) })
            }
        }
    }

    fn file(&self) -> String {
        self.checkpoint.source().to_owned()
    }
}
