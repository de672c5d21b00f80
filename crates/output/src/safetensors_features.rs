//! Owns reading a feature matrix out of a safetensors file. Must not write one.
//!
//! Entry function: [`read_safetensors_features`].

use crate::{Array2, Error, Features, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::path::Path;

/// Name of the matrix in files that this crate writes.
pub(crate) const EMBEDDINGS: &str = "embeddings";
/// Name of the per-sequence token offsets in files that this crate writes.
pub(crate) const CU_SEQLENS: &str = "cu_seqlens";
/// Metadata key of the ids in files that this crate writes.
pub(crate) const IDS: &str = "ids";

/// Reads a 2-D tensor of floats (f16, bf16, f32 or f64) as f32, with the ids of the
/// file's metadata where it has them.
///
/// Without a name it takes `embeddings`, or else the file's only 2-D tensor.
///
/// # Errors
/// [`Error::Read`] where the file cannot be read, [`Error::Array`] where it is damaged,
/// has no such tensor, or the tensor has another shape or element type.
pub fn read_safetensors_features(path: impl AsRef<Path>, tensor: Option<&str>) -> Result<Features> {
    let path = path.as_ref();
    let wrong = |reason: String| Error::Array { path: path.to_owned(), reason };
    let bytes =
        std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
    let (name, view) = choose(&file, tensor).map_err(wrong)?;
    let array = to_array(&view).map_err(|reason| wrong(format!("tensor {name:?}: {reason}")))?;
    let ids = match metadata.metadata().as_ref().and_then(|entries| entries.get(IDS)) {
        Some(text) => Some(
            serde_json::from_str(text)
                .map_err(|error| wrong(format!("the ids in its metadata: {error}")))?,
        ),
        None => None,
    };
    Ok(Features { array, ids })
}

fn choose<'a>(
    file: &SafeTensors<'a>,
    name: Option<&str>,
) -> Result<(String, TensorView<'a>), String> {
    let mut found = file.tensors();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let names = found.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted = name.unwrap_or(EMBEDDINGS);
    if let Some(index) = found.iter().position(|(name, _)| name == wanted) {
        return Ok(found.swap_remove(index));
    }
    if name.is_some() {
        return Err(format!("no tensor {wanted:?}, the file has: {names}"));
    }
    found.retain(|(_, view)| view.shape().len() == 2);
    match (found.pop(), found.is_empty()) {
        (Some(only), true) => Ok(only),
        (Some(_), false) => Err(format!("several 2-D tensors, name one of: {names}")),
        (None, _) => Err(format!("no 2-D tensor, the file has: {names}")),
    }
}

fn to_array(view: &TensorView<'_>) -> Result<Array2, String> {
    let &[rows, cols] = view.shape() else {
        return Err(format!("expected two dimensions, the shape is {:?}", view.shape()));
    };
    let bytes = view.data();
    let data = match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::F16 => {
            bytes.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32()).collect()
        }
        Dtype::BF16 => {
            bytes.as_chunks().0.iter().map(|&b| half::bf16::from_le_bytes(b).to_f32()).collect()
        }
        other => {
            return Err(format!("element type {other:?}, expected F32, F64, F16 or BF16"));
        }
    };
    Ok(Array2 { rows, cols, data })
}
