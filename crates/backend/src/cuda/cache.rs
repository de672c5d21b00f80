//! Files that make the next start faster: compiled kernels and remembered matrix plans.
//!
//! A cache is never needed: what cannot be read is made anew, what cannot be written is lost.

use std::env;
use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// Length of the checksum in front of every file.
const CHECKSUM_BYTES: usize = 32;

/// A folder of small files, each found by what it was made from.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache in `folder`, or in the user's cache folder; without either nothing is kept.
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder: folder.or_else(user_cache) }
    }

    /// What was kept under `name` and `key`, if it is whole.
    pub(super) fn read(&self, name: &str, key: &str) -> Option<Vec<u8>> {
        let mut bytes = fs::read(self.place(name, key)?).ok()?;
        let content = bytes.split_off(CHECKSUM_BYTES.min(bytes.len()));
        (checksum(&content)[..] == bytes[..]).then_some(content)
    }

    /// Keeps `content`; readers see all of it or nothing.
    pub(super) fn write(&self, name: &str, key: &str, content: &[u8]) {
        let Some(place) = self.place(name, key) else { return };
        let _ = place.parent().map(fs::create_dir_all);
        let unfinished = place.with_extension(format!("{}.partial", std::process::id()));
        let bytes = [&checksum(content)[..], content].concat();
        if fs::write(&unfinished, bytes).and_then(|()| fs::rename(&unfinished, &place)).is_err() {
            let _ = fs::remove_file(&unfinished);
        }
    }

    fn place(&self, name: &str, key: &str) -> Option<PathBuf> {
        let digest = checksum(key.as_bytes());
        let hex: String = digest[..12].iter().map(|byte| format!("{byte:02x}")).collect();
        Some(self.folder.as_ref()?.join(format!("{name}-{hex}")))
    }
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM_BYTES] {
    Sha256::digest(content).into()
}

/// `virnucpro` in the cache folder that the user's system names.
fn user_cache() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(base.join("virnucpro"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_gives_back_what_is_whole_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(folder.path().join("made")));
        assert_eq!(cache.read("gelu", "a"), None);
        cache.write("gelu", "a", b"machine code");
        assert_eq!(cache.read("gelu", "a").as_deref(), Some(&b"machine code"[..]));
        assert_eq!(cache.read("gelu", "b"), None);
        let files: Vec<_> =
            fs::read_dir(cache.folder.as_ref().unwrap()).unwrap().flatten().collect();
        assert_eq!(files.len(), 1, "nothing unfinished is left");
        let whole = fs::read(files[0].path()).unwrap();
        for broken in [&whole[..whole.len() - 1], &whole[..5], b""] {
            fs::write(files[0].path(), broken).unwrap();
            assert_eq!(cache.read("gelu", "a"), None);
        }
    }

    #[test]
    fn cache_without_a_folder_keeps_nothing() {
        let cache = Cache { folder: None };
        cache.write("gelu", "a", b"machine code");
        assert_eq!(cache.read("gelu", "a"), None);
    }
}
