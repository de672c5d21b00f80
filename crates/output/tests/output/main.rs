//! Tests of the output crate through its public interface, in one binary so that the
//! Arrow and Parquet libraries are linked once.
#![expect(clippy::unwrap_used, reason = "a failed step of a test is a failed test")]

mod atomic_files;
mod contigs;
mod embeddings;
mod features;
mod golden_tables;
mod prediction_reader;
mod prediction_table;
mod run_reports;
mod score_text;

use std::path::{Path, PathBuf};

/// The project's own fixtures.
fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tables")
}

/// Fixtures that are not committed; `None`, with a line saying so, where they are absent.
fn shared_fixtures() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/fixtures");
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: ../shared/fixtures is not there");
    None
}

/// Names inside a folder, sorted.
fn names_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
