//! Bundles that were altered, cut, or made to do harm.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_models::bundle::{self, MANIFEST, Verification};
use virnucpro_models::{Bundle, ModelError};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::assert_one_line;
use crate::support::models::Parts;
use crate::support::random::Random;
use crate::support::tensors::Tensors;

/// Every path inside the small bundle but the manifest.
const FILES: [&str; 7] = [
    "esm2/config.json",
    "esm2/model.safetensors",
    "dnabert_s/config.json",
    "dnabert_s/model.safetensors",
    "dnabert_s/tokenizer.json",
    "heads/300_500.safetensors",
    "heads/1000.safetensors",
];

/// Opens a bundle and reads all of it.
fn read_all(path: &Path) -> Result<(), ModelError> {
    let bundle = Bundle::open(path)?;
    let backend = CpuBackend::new(1).unwrap();
    bundle.protein_encoder()?.check()?;
    let nucleotide = bundle.nucleotide_encoder()?;
    nucleotide.check()?;
    nucleotide.tokenizer()?;
    for length in bundle.chunk_lengths() {
        bundle.classifier(&backend, length)?;
    }
    Ok(())
}

/// Writes a folder's files as an archive.
fn archive_of(folder: &Path, path: &Path) {
    let mut zip = ZipWriter::new(fs::File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for name in FILES.iter().chain([&MANIFEST]) {
        zip.start_file(*name, options).unwrap();
        zip.write_all(&fs::read(folder.join(name)).unwrap()).unwrap();
    }
    zip.finish().unwrap();
}

/// The same damage done to a folder and to an archive of it.
#[track_caller]
fn refused(parts: &Parts, folder: &Path, expected: &[&str]) {
    let file = parts.path("altered.vnp");
    archive_of(folder, &file);
    for path in [folder, &file] {
        assert_one_line(&read_all(path).unwrap_err(), &[&path.display().to_string()]);
        assert_one_line(&read_all(path).unwrap_err(), expected);
    }
}

fn change_manifest(folder: &Path, change: impl FnOnce(&mut Value)) {
    let path = folder.join(MANIFEST);
    let mut manifest: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    fs::write(&path, manifest.to_string()).unwrap();
}

#[test]
fn bundle_altered_byte_in_any_file_is_named() {
    let parts = Parts::new();
    let folder = parts.path("bundle");
    bundle::create(&parts.recipe, &folder).unwrap();
    assert!(read_all(&folder).is_ok());
    for name in FILES {
        let path = folder.join(name);
        let good = fs::read(&path).unwrap();
        let mut altered = good.clone();
        let last = altered.len() - 1;
        altered[last] ^= 1;
        fs::write(&path, altered).unwrap();
        let error = read_all(&folder).unwrap_err();
        assert!(matches!(&error, ModelError::HashMismatch { file, .. } if file == name), "{error}");
        refused(&parts, &folder, &[name, "SHA-256"]);
        fs::write(&path, good).unwrap();
    }
    for name in FILES {
        fs::rename(folder.join(name), parts.path("away")).unwrap();
        assert_one_line(&read_all(&folder).unwrap_err(), &[name]);
        fs::rename(parts.path("away"), folder.join(name)).unwrap();
    }
    assert!(read_all(&folder).is_ok());
}

/// Weights are given out at once; what is wrong with them comes out while they are used.
#[test]
fn bundle_altered_weights_are_found_while_they_are_used() {
    let parts = Parts::new();
    let folder = parts.path("bundle");
    bundle::create(&parts.recipe, &folder).unwrap();
    let bundle = Bundle::open(&folder).unwrap();
    let open = || {
        let mut verification = Verification::default();
        bundle.unverified_nucleotide_encoder(&mut verification).unwrap();
        bundle.unverified_protein_encoder(&mut verification).unwrap();
        verification
    };
    assert!(open().wait().is_ok());
    let other = ModelError::NoLmHead;
    assert!(matches!(open().explain(other), ModelError::NoLmHead));
    assert!(matches!(open().explain_if_known(ModelError::NoLmHead), ModelError::NoLmHead));
    for name in ["esm2/model.safetensors", "dnabert_s/model.safetensors"] {
        let path = folder.join(name);
        let good = fs::read(&path).unwrap();
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        fs::write(&path, altered).unwrap();
        let is_named = |error: ModelError| match error {
            ModelError::HashMismatch { file, .. } => file == name,
            _ => false,
        };
        assert!(is_named(open().wait().unwrap_err()));
        assert!(is_named(open().explain(ModelError::NoLmHead)));
        let mut verification = open();
        let started = Instant::now();
        let found = loop {
            if let Err(error) = verification.check() {
                break error;
            }
            assert!(started.elapsed() < Duration::from_secs(60), "{name} was never looked at");
            std::thread::yield_now();
        };
        assert!(is_named(found));
        assert!(is_named(verification.wait().unwrap_err()), "it is not forgotten");
        assert!(is_named(verification.explain_if_known(ModelError::NoLmHead)));
        // Not even a header.
        fs::write(&path, "nothing").unwrap();
        assert!(is_named(read_all(&folder).unwrap_err()));
        fs::write(&path, good).unwrap();
    }
}

#[test]
fn bundle_manifest_that_lies_is_refused() {
    let parts = Parts::new();
    let folder = parts.path("bundle");
    bundle::create(&parts.recipe, &folder).unwrap();
    let good = fs::read(folder.join(MANIFEST)).unwrap();
    let check = |change: &dyn Fn(&mut Value), expected: &[&str]| {
        change_manifest(&folder, change);
        refused(&parts, &folder, expected);
        fs::write(folder.join(MANIFEST), &good).unwrap();
    };
    for path in ["../../etc/passwd", "/etc/passwd", "heads/../../x"] {
        let expected = [path, "not a path inside the bundle"];
        check(&|m| m["classifiers"][0]["path"] = json!(path), &expected);
        check(&|m| m["protein_encoder"]["path"] = json!(path), &expected);
    }
    check(&|m| m["classifiers"][0]["path"] = json!("heads/none"), &["heads/none"]);
    check(&|m| m["classifiers"][0]["chunk_lengths"] = json!([300, 1000]), &["length 1000"]);
    check(&|m| m["classifiers"][0]["chunk_lengths"] = json!([-1]), &["integer `-1`"]);
    check(&|m| m["version"] = json!(2), &["version 2"]);
    check(&|m| m["surprise"] = json!("\n"), &["surprise"]);
    check(
        &|m| {
            let protein = m["protein_encoder"].take();
            m["protein_encoder"] = m["nucleotide_encoder"].take();
            m["nucleotide_encoder"] = protein;
        },
        &["dnabert_s: the model is DNABERT-S, expected ESM-2"],
    );
    check(
        &|m| {
            drop(m["nucleotide_encoder"]["files"].as_object_mut().unwrap().remove("tokenizer.json"))
        },
        &["tokenizer.json: not found, DNABERT-S needs it"],
    );
    check(
        &|m| drop(m["protein_encoder"]["files"].as_object_mut().unwrap().remove("config.json")),
        &["it lists no esm2/config.json"],
    );
    // Hashes that fit, of a classifier that does not.
    let head = folder.join("heads/1000.safetensors");
    fs::write(&head, Tensors::random_classifier(9, 384, 4).safetensors()).unwrap();
    let sha256 = virnucpro_weights::Bytes::map(&head).unwrap().sha256();
    check(
        &|m| m["classifiers"][1]["sha256"] = json!(sha256),
        &["heads/1000.safetensors is a classifier of 384 features", "128 together"],
    );

    fs::remove_file(folder.join(MANIFEST)).unwrap();
    assert!(!Bundle::is_at(&folder));
    let error = Bundle::open(&folder).unwrap_err();
    assert_one_line(&error, &["bundle: a folder without bundle.json", "models bundle"]);
}

/// Replaces every occurrence of `from` in the archive, names in both directories included.
fn patched(archive: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    assert_eq!(from.len(), to.len());
    let mut patched = archive.to_vec();
    let mut count = 0;
    for at in 0..=archive.len() - from.len() {
        if &archive[at..at + from.len()] == from {
            patched[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
    }
    assert!(count > 0);
    patched
}

#[test]
fn bundle_archive_with_forbidden_entries_is_refused() {
    let parts = Parts::new();
    let file = parts.path("bundle.vnp");
    bundle::create(&parts.recipe, &file).unwrap();
    let good = fs::read(&file).unwrap();
    let check = |bytes: Vec<u8>, expected: &str| {
        fs::write(&file, bytes).unwrap();
        assert_one_line(&Bundle::open(&file).unwrap_err(), &["bundle.vnp: ", expected]);
    };
    check(patched(&good, b"heads/1", b"../ds/1"), "not a plain relative path");
    check(patched(&good, b"heads/1", b"/eads/1"), "not a plain relative path");
    // The directory says that its first entry is deflated.
    let directory = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let mut compressed = good.clone();
    compressed[directory + 10] = 8;
    check(compressed, "bundle.json: it is compressed");
    // Two entries of one name.
    check(patched(&good, b"esm2/model.safetensors", b"heads/1000.safetensors"), "same name");
    check(b"PK\x03\x04".to_vec(), "not a readable zip file");
    check(Vec::new(), "not a bundle");
    check(b"no archive at all".to_vec(), "not a bundle");
    assert_one_line(&Bundle::open(&parts.path("absent.vnp")).unwrap_err(), &["absent.vnp: "]);
    let other = crate::support::testdata("golden/head/mlp_3328x64.pth");
    assert_one_line(&Bundle::open(&other).unwrap_err(), &["mlp_3328x64.pth: no file bundle.json"]);
}

#[test]
fn bundle_archive_cut_anywhere_is_refused() {
    let parts = Parts::new();
    let file = parts.path("bundle.vnp");
    bundle::create(&parts.recipe, &file).unwrap();
    let handle = OpenOptions::new().write(true).open(&file).unwrap();
    let length = handle.metadata().unwrap().len();
    // Every byte of the end, where the directory lies, then in growing steps.
    let mut cut = 1;
    while cut < length {
        handle.set_len(length - cut).unwrap();
        let error = Bundle::open(&file).unwrap_err();
        assert_one_line(&error, &["bundle.vnp: "]);
        cut += 1 + cut / 200;
    }
}

#[test]
fn bundle_archive_with_flipped_bits_is_refused_or_harmless() {
    let parts = Parts::new();
    let file = parts.path("bundle.vnp");
    bundle::create(&parts.recipe, &file).unwrap();
    let good = fs::read(&file).unwrap();
    let directory = good.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    let mut random = Random::new(41);
    let mut refused = 0;
    for round in 0..160 {
        // Half of them in the directory and in the manifest, which hashes do not cover.
        let at = match round % 4 {
            0 => directory + random.below(good.len() - directory),
            1 => random.below(2048),
            _ => random.below(good.len()),
        };
        let mut bytes = good.clone();
        bytes[at] ^= 1 << random.below(8);
        fs::write(&file, bytes).unwrap();
        if let Err(error) = read_all(&file) {
            assert_one_line(&error, &["bundle.vnp"]);
            refused += 1;
        }
    }
    assert!(refused > 100, "only {refused} of 160 were noticed");
}
