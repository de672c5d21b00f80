//! What a torch archive must contain, and the way from there to a value.

use crate::bytes::Bytes;
use crate::error::{Result, WeightsError};
use crate::pickle::{self, Refusal, Storages, Value};
use crate::printable::{one_line, printable};
use crate::zip_entries::ZipEntries;

/// What a PyTorch archive holds.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) root: Value,
    pub(crate) classes: Vec<String>,
}

struct Archive {
    entries: ZipEntries,
    /// Top folder with its slash; the name differs from file to file.
    top: String,
}

impl Storages for Archive {
    fn storage(&self, key: &str) -> Result<Bytes, String> {
        self.entries
            .get(&format!("{}data/{key}", self.top))
            .ok_or_else(|| format!("storage {} is not in the archive", printable(key)))
    }
}

/// Reads the archive `bytes`.
///
/// # Errors
/// [`WeightsError::BadArchive`], [`WeightsError::BadPickle`], [`WeightsError::ForbiddenGlobal`]
/// and [`WeightsError::UnsupportedDType`], naming `file`.
pub(crate) fn read(file: &str, bytes: &Bytes) -> Result<Contents> {
    let bad = |what: String| WeightsError::BadArchive { file: file.to_owned(), what };
    let archive = open(bytes).map_err(bad)?;
    let name = format!("{}data.pkl", archive.top);
    let missing = || bad(format!("entry {} is missing", printable(&name)));
    let pickle = archive.entries.get(&name).ok_or_else(missing)?;
    let start = archive.entries.start(&name).ok_or_else(missing)?;
    let unpickled = pickle::load(&pickle, &archive).map_err(|(at, refusal)| {
        let byte = (start + at) as u64;
        let file = file.to_owned();
        match refusal {
            Refusal::Broken(what) => WeightsError::BadPickle { file, byte, what: one_line(&what) },
            Refusal::Forbidden { module, name } => WeightsError::ForbiddenGlobal {
                file,
                byte,
                hint: pickle::hint(&module),
                module: printable(&module),
                name: printable(&name),
            },
            Refusal::DType { name, dtype } => {
                WeightsError::UnsupportedDType { file, name: printable(&name), dtype }
            }
        }
    })?;
    Ok(Contents { root: unpickled.root, classes: unpickled.classes })
}

fn open(bytes: &Bytes) -> Result<Archive, String> {
    let entries = ZipEntries::read(bytes)?;
    let mut tops = entries.names().filter_map(|name| {
        let top = name.strip_suffix("data.pkl")?;
        (top.ends_with('/') && top.matches('/').count() == 1).then(|| top.to_owned())
    });
    let top = tops.next().ok_or("there is no data.pkl; this zip file is not from torch.save")?;
    if tops.next().is_some() {
        return Err("there is more than one data.pkl".to_owned());
    }
    drop(tops);
    // TorchScript files are torch archives that also hold programs.
    if entries.get(&format!("{top}constants.pkl")).is_some() {
        return Err(
            "it is a TorchScript program; in Python, load it with torch.jit.load and save \
                    its state_dict() with torch.save"
                .to_owned(),
        );
    }
    if let Some(order) = entries.get(&format!("{top}byteorder"))
        && order.trim_ascii() != b"little"
    {
        return Err("its numbers are not little-endian".to_owned());
    }
    Ok(Archive { entries, top })
}
