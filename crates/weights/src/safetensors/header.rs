//! Reading a safetensors header.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::dtype;
use crate::bytes::Bytes;
use crate::error::{Result, WeightsError};
use crate::printable::{one_line, printable};
use crate::stored_tensor::StoredTensor;
use crate::unique_map::UniqueMap;

/// Width of the length that opens the file.
pub(super) const LENGTH_BYTES: usize = 8;

/// Longest header that is read; the format's own limit.
///
/// # Source
/// huggingface/safetensors@24b0b28:safetensors/src/tensor.rs (`MAX_HEADER_SIZE`)
pub(super) const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Key of the free-form text pairs; no tensor can have this name.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// What a safetensors file holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) tensors: Vec<(String, StoredTensor)>,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// One entry as written; `data_offsets` count from the end of the header.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

struct Header {
    entries: Vec<(String, Entry)>,
    metadata: BTreeMap<String, String>,
}

/// Reads the header of `bytes` and checks that its tensors tile the rest of the file exactly.
///
/// # Errors
/// [`WeightsError::BadSafetensors`] and [`WeightsError::UnsupportedDType`], naming `file`.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents> {
    let bad = |what: String| WeightsError::BadSafetensors { file: file.to_owned(), what };
    let (header, data) = split(bytes).map_err(bad)?;
    let Header { mut entries, metadata } = parse(header).map_err(bad)?;
    entries.sort_by_key(|(_, entry)| entry.data_offsets);
    let mut tensors = Vec::with_capacity(entries.len());
    let mut position = 0u64;
    for (name, entry) in entries {
        let Entry { dtype, shape, data_offsets: (begin, end) } = entry;
        let shown = printable(&name);
        let Some(dtype) = dtype::from_name(&dtype) else {
            return Err(WeightsError::UnsupportedDType {
                file: file.to_owned(),
                name: shown,
                dtype: printable(&dtype),
            });
        };
        let wrong = |what: String| bad(format!("tensor {shown}: {what}"));
        if begin > end || end > data.len() as u64 {
            return Err(wrong(format!(
                "data offsets {begin}..{end} lie outside the {} data bytes",
                data.len()
            )));
        }
        if begin < position {
            return Err(wrong(format!(
                "data offsets {begin}..{end} overlap the previous tensor, which ends at {position}"
            )));
        }
        if begin > position {
            return Err(wrong(format!("bytes {position}..{begin} before it belong to no tensor")));
        }
        position = end;
        let shape = shape
            .iter()
            .map(|&extent| usize::try_from(extent))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(|_| wrong("an extent is too large for this machine".to_owned()))?;
        // Both ends are at most `data.len()`, so they fit.
        let part = data.slice(begin as usize..end as usize).ok_or_else(|| {
            wrong(format!("data offsets {begin}..{end} lie outside the data bytes"))
        })?;
        tensors.push((name, StoredTensor::contiguous(dtype, shape, part).map_err(wrong)?));
    }
    if position != data.len() as u64 {
        let left = data.len() as u64 - position;
        return Err(bad(format!("the last {left} bytes of the file belong to no tensor")));
    }
    Ok(Contents { tensors, metadata })
}

/// Splits the file into header text and data.
fn split(bytes: &Bytes) -> Result<(&str, Bytes), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(format!("the file has {} bytes, too few for a header", bytes.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > rest.len() as u64 {
        return Err(format!(
            "its length of {length} bytes reaches beyond the end of the file ({} bytes)",
            bytes.len()
        ));
    }
    if length > MAX_HEADER_BYTES {
        return Err(format!("its length of {length} bytes is over {MAX_HEADER_BYTES}"));
    }
    let length = length as usize;
    let text = std::str::from_utf8(&rest[..length])
        .map_err(|e| format!("byte {} is not UTF-8", LENGTH_BYTES + e.valid_up_to()))?;
    let data = bytes
        .slice(LENGTH_BYTES + length..bytes.len())
        .ok_or_else(|| "it reaches beyond the end of the file".to_owned())?;
    Ok((text, data))
}

fn parse(text: &str) -> Result<Header, String> {
    if !text.starts_with('{') {
        return Err("it is not a JSON object".to_owned());
    }
    let header: Header =
        serde_json::from_str(text).map_err(|e| one_line(&format!("invalid JSON: {e}")))?;
    if let Some(pair) = header.entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(format!("tensor {} occurs twice", printable(&pair[0].0)));
    }
    Ok(header)
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut entries: Vec<(String, Entry)> = Vec::new();
        let mut metadata = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == METADATA_KEY {
                let UniqueMap(pairs) = map.next_value::<UniqueMap<String>>()?;
                if metadata.replace(pairs.into_iter().collect()).is_some() {
                    return Err(A::Error::custom("__metadata__ occurs twice"));
                }
                continue;
            }
            let entry = map
                .next_value()
                .map_err(|e| A::Error::custom(format_args!("tensor {}: {e}", printable(&key))))?;
            entries.push((key, entry));
        }
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Header { entries, metadata: metadata.unwrap_or_default() })
    }
}
