//! What a checkpoint holds, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::checkpoint::Checkpoint;
use crate::printable::printable;

/// One tensor of a [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TensorSummary {
    /// Name.
    pub name: String,
    /// Element type, as safetensors spells it.
    pub dtype: String,
    /// Extent of each dimension.
    pub shape: Vec<usize>,
    /// Size of the elements.
    pub size_bytes: usize,
}

/// The contents of a checkpoint without its numbers; prints as a table, serialises as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// What was opened.
    pub source: String,
    /// Kind of file.
    pub format: String,
    /// Files, in the order they were opened.
    pub files: Vec<String>,
    /// Tensors, sorted by name.
    pub tensors: Vec<TensorSummary>,
    /// Elements of all tensors together.
    pub total_parameters: u64,
    /// Bytes of all tensors together.
    pub total_bytes: u64,
    /// Metadata of a safetensors file.
    pub metadata: BTreeMap<String, String>,
    /// Classes that a pickle mentions.
    pub pickle_classes: Vec<String>,
}

impl Summary {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let tensors: Vec<TensorSummary> = checkpoint
            .names()
            .filter_map(|name| {
                let tensor = checkpoint.tensor(name)?;
                Some(TensorSummary {
                    name: name.to_owned(),
                    dtype: tensor.dtype().to_string(),
                    shape: tensor.shape().to_vec(),
                    size_bytes: tensor.size_bytes(),
                })
            })
            .collect();
        let parameters = |t: &TensorSummary| t.shape.iter().map(|&n| n as u64).product::<u64>();
        // Tensors may share bytes, so hostile files can make these sums large.
        let add = |sum: u64, n: u64| sum.saturating_add(n);
        Self {
            source: checkpoint.source().to_owned(),
            format: checkpoint.format().to_string(),
            files: checkpoint.files().map(str::to_owned).collect(),
            total_parameters: tensors.iter().map(parameters).fold(0, add),
            total_bytes: tensors.iter().map(|t| t.size_bytes as u64).fold(0, add),
            tensors,
            metadata: checkpoint.metadata().clone(),
            pickle_classes: checkpoint.classes().to_vec(),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} ({})", self.source, self.format)?;
        if self.files.len() > 1 {
            writeln!(f, "  files: {}", self.files.join(", "))?;
        }
        writeln!(
            f,
            "  {} tensors, {} parameters, {} bytes",
            self.tensors.len(),
            self.total_parameters,
            self.total_bytes
        )?;
        for (key, value) in &self.metadata {
            writeln!(f, "  metadata {} = {}", printable(key), printable(value))?;
        }
        for class in &self.pickle_classes {
            writeln!(f, "  class {class}")?;
        }
        let width = self.tensors.iter().map(|t| printable(&t.name).chars().count()).max();
        let width = width.unwrap_or(0);
        for t in &self.tensors {
            let name = printable(&t.name);
            writeln!(f, "  {name:width$}  {:4}  {:?}  {} bytes", t.dtype, t.shape, t.size_bytes)?;
        }
        Ok(())
    }
}
