//! Owns the choice of a feature reader and the ids beside the features.
//!
//! Entry function: [`read_features`].

use crate::{Array2, Error, Result, embedding::ids_path, read_npy, read_safetensors_features};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// A feature matrix and, where the file has them, the ids of its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Features, one row per sequence.
    ///
    /// # Shape
    /// `[num_seqs, hidden_size]`.
    pub array: Array2,
    /// One id per row, in row order.
    pub ids: Option<Vec<String>>,
}

/// Reads features from `.npy` or `.safetensors`, with the ids in the metadata or in the
/// `.ids.txt` beside the file. `tensor` names the tensor of a `.safetensors` file.
///
/// # Errors
/// Those of [`read_npy`] and [`read_safetensors_features`]; [`Error::Array`] where the
/// file name has another ending, or the number of ids differs from the number of rows.
pub fn read_features(path: impl AsRef<Path>, tensor: Option<&str>) -> Result<Features> {
    let path = path.as_ref();
    let wrong = |path: PathBuf, reason: String| Error::Array { path, reason };
    let ending = path.extension().unwrap_or_default();
    let mut features = if ending.eq_ignore_ascii_case("npy") {
        Features { array: read_npy(path)?, ids: None }
    } else if ending.eq_ignore_ascii_case("safetensors") {
        read_safetensors_features(path, tensor)?
    } else {
        let reason = "features are read from .npy or .safetensors files".to_owned();
        return Err(wrong(path.to_owned(), reason));
    };
    let mut ids_from = path.to_owned();
    if features.ids.is_none() {
        ids_from = ids_path(path);
        features.ids = read_ids(&ids_from)?;
    }
    let rows = features.array.rows;
    match &features.ids {
        Some(ids) if ids.len() != rows => {
            Err(wrong(ids_from, format!("{} ids for {rows} rows of features", ids.len())))
        }
        _ => Ok(features),
    }
}

fn read_ids(path: &Path) -> Result<Option<Vec<String>>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.lines().map(str::to_owned).collect())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Read { path: path.to_owned(), source }),
    }
}
