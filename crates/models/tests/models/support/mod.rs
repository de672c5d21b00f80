//! What the tests share.

pub(crate) mod golden;
pub(crate) mod models;
pub(crate) mod random;
pub(crate) mod tensors;

use std::path::{Path, PathBuf};

/// A path in the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn testdata(path: &str) -> PathBuf {
    repository("testdata").join(path)
}

/// A path in the project's shared material, or `None` (said aloud) where it is absent.
pub(crate) fn shared(path: &str) -> Option<PathBuf> {
    let found = repository("../shared").join(path);
    if !found.exists() {
        println!("skipped: ../shared/{path} is not here");
        return None;
    }
    Some(found)
}

/// Names of the files in a folder, sorted.
pub(crate) fn listing(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Panics unless `error` is one line that contains every one of `parts`.
#[track_caller]
pub(crate) fn assert_one_line(error: &virnucpro_models::ModelError, parts: &[&str]) {
    let line = error.to_string();
    assert!(!line.chars().any(char::is_control), "{line:?}");
    for part in parts {
        assert!(line.contains(part), "expected {part:?} in {line:?}");
    }
}
