use crate::names_in;
use proptest::prelude::*;
use std::{fs, io::Write, path::Path};
use virnucpro_output::{AtomicFile, Error, OutputDir, OutputSet};

fn staged(path: &Path, content: &[u8]) -> AtomicFile {
    let mut file = AtomicFile::create(path).unwrap();
    file.write_all(content).unwrap();
    file
}

#[test]
fn atomic_file_committed_replaces_target() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.txt");
    fs::write(&path, "old").unwrap();
    let file = staged(&path, b"complete");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["table.txt", "table.txt.partial"]);
    file.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "complete");
    assert_eq!(names_in(folder.path()), ["table.txt"]);
}

#[test]
fn atomic_file_dropped_leaves_target_and_no_partial() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.txt");
    fs::write(&path, "old").unwrap();
    drop(staged(&path, &vec![b'x'; 1 << 20]));
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    assert_eq!(names_in(folder.path()), ["table.txt"]);
}

#[test]
fn atomic_file_stale_partial_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.txt");
    fs::write(folder.path().join("table.txt.partial"), "left by a killed run, longer").unwrap();
    staged(&path, b"short").commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "short");
}

#[test]
fn atomic_file_second_writer_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("table.txt");
    let first = staged(&path, b"first");
    let error = AtomicFile::create(&path).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    first.commit().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "first");
}

#[test]
fn atomic_file_unusable_targets_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("results");
    fs::create_dir(&directory).unwrap();
    let error = AtomicFile::create(&directory).unwrap_err().to_string();
    assert!(error.contains("results: it exists and is a directory"), "{error}");
    let missing = folder.path().join("missing/table.txt");
    let error = AtomicFile::create(&missing).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot create {}: ", missing.display())), "{error}");
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = AtomicFile::create(file.join("table.txt")).unwrap_err().to_string();
    assert!(error.contains("table.txt: "), "{error}");
    assert!(!error.contains('\n'));
    assert!(OutputDir::create(&file).unwrap_err().to_string().contains("cannot create"));
    OutputDir::create(folder.path().join("a/b")).unwrap().keep();
    OutputDir::create(folder.path().join("a/b")).unwrap().keep();
    assert!(AtomicFile::create("..").is_err());
    assert!(AtomicFile::create("").is_err());
}

#[cfg(unix)]
#[test]
fn atomic_file_device_is_not_replaced() {
    let error = AtomicFile::create("/dev/null").unwrap_err().to_string();
    assert!(error.contains("a device, pipe or socket"), "{error}");
}

#[cfg(unix)]
#[test]
fn atomic_file_link_is_kept_and_its_target_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.txt");
    let link = folder.path().join("link.txt");
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    staged(&link, b"new").commit().unwrap();
    assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
}

#[cfg(unix)]
#[test]
fn atomic_file_does_not_write_through_a_planted_partial_link() {
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    std::os::unix::fs::symlink(&victim, folder.path().join("table.txt.partial")).unwrap();
    staged(&folder.path().join("table.txt"), b"new").commit().unwrap();
    assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    assert_eq!(fs::read_to_string(folder.path().join("table.txt")).unwrap(), "new");
}

#[test]
fn output_set_appears_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut set = OutputSet::new();
    for name in ["a", "b", "c"] {
        set.push(staged(&folder.path().join(name), name.as_bytes()));
    }
    assert_eq!(set.paths().len(), 3);
    assert_eq!(names_in(folder.path()), ["a.partial", "b.partial", "c.partial"]);
    set.commit().unwrap();
    assert_eq!(names_in(folder.path()), ["a", "b", "c"]);
    assert_eq!(fs::read_to_string(folder.path().join("c")).unwrap(), "c");
}

#[test]
fn output_set_failed_rename_leaves_whole_files_only() {
    let folder = tempfile::tempdir().unwrap();
    let mut set = OutputSet::new();
    for name in ["a", "b", "c"] {
        set.push(staged(&folder.path().join(name), name.as_bytes()));
    }
    // A directory that takes the second name after the run began.
    fs::create_dir(folder.path().join("b")).unwrap();
    let error = set.commit().unwrap_err();
    assert!(matches!(error, Error::Rename { .. }), "{error}");
    assert_eq!(names_in(folder.path()), ["a", "b"]);
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "a");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn prop_atomic_files_never_leave_partials(
        writes in prop::collection::vec((0_usize..4, 0_usize..3, 0_usize..400_000), 0..12),
        commit in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut files: Vec<Option<AtomicFile>> = (0..4).map(|_| None).collect();
        let mut finished = OutputSet::new();
        for (slot, action, len_bytes) in writes {
            let path = folder.path().join(format!("{slot}"));
            match (action, files[slot].take()) {
                (0, Some(_dropped)) => {}
                (1, Some(file)) => file.commit().unwrap(),
                (2, Some(file)) if !finished.paths().contains(&path) => finished.push(file),
                (_, _) if finished.paths().contains(&path) => {}
                (_, _) => files[slot] = Some(staged(&path, &vec![b'x'; len_bytes])),
            }
        }
        drop(files);
        if commit {
            finished.commit().unwrap();
        } else {
            drop(finished);
        }
        for name in names_in(folder.path()) {
            prop_assert!(!name.ends_with(".partial"), "{}", name);
        }
    }
}
