//! Writing a safetensors file without holding it in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use virnucpro_backend::TensorView;

use super::header::{LENGTH_BYTES, MAX_HEADER_BYTES, METADATA_KEY};
use crate::error::{Result, WeightsError};
use crate::printable::{one_line, printable};

#[derive(Serialize)]
struct Entry<'a> {
    dtype: String,
    shape: &'a [usize],
    data_offsets: (usize, usize),
}

/// Writes `tensors` and `metadata` to `path`, which appears only when it is complete.
///
/// The bytes go through a small buffer to `<path>.partial`, are synced, and renamed; a failed
/// write leaves neither file. Tensors are laid out by falling element size, then name, so each
/// one is aligned to its element size, and equal input gives an equal file.
///
/// # Errors
/// [`WeightsError::Io`] from the file system; [`WeightsError::BadSafetensors`] for a repeated
/// tensor name, the reserved name `__metadata__`, or a header over the format's limit.
pub fn write_safetensors(
    path: &Path,
    tensors: &[(&str, TensorView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let file = one_line(&path.display().to_string());
    let mut order: Vec<&(&str, TensorView<'_>)> = tensors.iter().collect();
    order.sort_by(|(a_name, a), (b_name, b)| {
        b.dtype().size_bytes().cmp(&a.dtype().size_bytes()).then(a_name.cmp(b_name))
    });
    let header = header(&order, metadata)
        .map_err(|what| WeightsError::BadSafetensors { file: file.clone(), what })?;
    let partial = partial_path(path);
    let written = write(&partial, &header, &order).and_then(|()| fs::rename(&partial, path));
    written.map_err(|source| {
        // The first error is the one to report; the file may not even exist.
        let _ = fs::remove_file(&partial);
        WeightsError::Io { file, source }
    })
}

fn partial_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// The JSON header, padded with spaces so that the data starts at a multiple of eight.
fn header(
    order: &[&(&str, TensorView<'_>)],
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>, String> {
    let mut seen = BTreeSet::new();
    let mut entries: Vec<(&str, String)> = Vec::with_capacity(order.len() + 1);
    let json = |e: serde_json::Error| e.to_string();
    if !metadata.is_empty() {
        entries.push((METADATA_KEY, serde_json::to_string(metadata).map_err(json)?));
    }
    let mut position = 0;
    for (name, view) in order {
        if *name == METADATA_KEY {
            return Err(format!("{METADATA_KEY} is no name for a tensor"));
        }
        if !seen.insert(*name) {
            return Err(format!("tensor {} is given twice", printable(name)));
        }
        let end = position + view.data().len();
        let entry = Entry {
            dtype: view.dtype().to_string(),
            shape: view.shape(),
            data_offsets: (position, end),
        };
        entries.push((name, serde_json::to_string(&entry).map_err(json)?));
        position = end;
    }
    let mut text = vec![b'{'];
    for (i, (name, entry)) in entries.iter().enumerate() {
        if i > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, name).map_err(json)?;
        text.push(b':');
        text.extend_from_slice(entry.as_bytes());
    }
    text.push(b'}');
    text.resize(text.len().next_multiple_of(LENGTH_BYTES), b' ');
    if text.len() as u64 > MAX_HEADER_BYTES {
        return Err(format!("{} bytes are over {MAX_HEADER_BYTES}", text.len()));
    }
    Ok(text)
}

fn write(partial: &Path, header: &[u8], order: &[&(&str, TensorView<'_>)]) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(partial)?);
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header)?;
    for (_, view) in order {
        out.write_all(view.data())?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}
