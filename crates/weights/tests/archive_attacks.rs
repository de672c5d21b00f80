//! Hostile and foreign containers around the pickle.

mod support;

use support::{Entry, Pickle, archive, as_zip64, good_archive, open, refused, zip};
use virnucpro_weights::WeightsError;

fn none() -> Vec<u8> {
    Pickle::new().op(b"N").stop()
}

#[test]
fn foreign_files_are_refused_with_advice() {
    let legacy = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02M\xe9\x03.";
    let mut tar = vec![0u8; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, what) in [
        (&b""[..], "the file is empty"),
        (b"x", "neither a safetensors file nor a PyTorch archive"),
        (b"GGUF\x03\0\0\0\0\0\0\0\0", "neither"),
        (b"\x89HDF\r\n\x1a\n\0\0\0\0", "neither"),
        (legacy, "save its state_dict() again with torch.save"),
        (&tar, "tar file"),
        (b"\x80\x04\x95\x02\0\0\0\0\0\0\0N.", "bare pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ] {
        let error = refused(bytes.to_vec(), what);
        assert!(matches!(error, WeightsError::UnknownFormat { .. }));
    }
}

#[test]
fn zip_that_is_not_from_torch_is_refused() {
    refused(zip(&[]), "no data.pkl");
    refused(zip(&[Entry::new("a/b.txt", b"x")]), "no data.pkl");
    refused(zip(&[Entry::new("data.pkl", &none())]), "no data.pkl");
    refused(zip(&[Entry::new("a/b/data.pkl", &none())]), "no data.pkl");
    let two = [Entry::new("a/data.pkl", &none()), Entry::new("b/data.pkl", &none())];
    refused(zip(&two), "more than one data.pkl");
    refused(b"PK\x03\x04".to_vec(), "zip");
}

#[test]
fn torchscript_program_is_refused_with_advice() {
    let script = [
        Entry::new("m/data.pkl", &none()),
        Entry::new("m/constants.pkl", &none()),
        Entry::new("m/code/__torch__.py", b"import os"),
    ];
    refused(zip(&script), "torch.jit.load");
}

#[test]
fn compressed_or_encrypted_entry_is_refused() {
    for method in [8, 12, 93, 99, 1] {
        let mut entry = Entry::new("x/data.pkl", &none());
        entry.method = method;
        refused(zip(&[entry]), "x/data.pkl");
    }
    let mut entry = Entry::new("x/data.pkl", &none());
    entry.flags = 1;
    refused(zip(&[entry]), "encrypted");
}

#[test]
fn zip_bomb_is_refused() {
    // A small deflated entry that claims to be large.
    let mut bomb = Entry::new("x/data/0", &[0; 100]);
    bomb.method = 8;
    bomb.size = u32::MAX - 1;
    refused(zip(&[Entry::new("x/data.pkl", &none()), bomb]), "compressed");
    // Stored, but the two sizes differ.
    let mut bomb = Entry::new("x/data/0", &[0; 100]);
    bomb.size = u32::MAX - 1;
    refused(zip(&[Entry::new("x/data.pkl", &none()), bomb]), "sizes differ");
    // Many names for the same bytes.
    let kernel = Entry::new("x/data/0", &[0; 1000]);
    let mut again = Entry::new("x/data/1", &[]);
    again.start = Some(0);
    refused(zip(&[kernel, again, Entry::new("x/data.pkl", &none())]), "share bytes");
}

#[test]
fn entry_beyond_the_file_is_refused() {
    let mut entry = Entry::new("x/data.pkl", &none());
    entry.size = 1 << 20;
    entry.compressed_size = 1 << 20;
    refused(zip(&[entry]), "beyond the end of the file");
    let mut entry = Entry::new("x/data.pkl", &none());
    entry.start = Some(1 << 30);
    refused(zip(&[entry]), "entry 0");
    // Into the directory itself.
    let mut entry = Entry::new("x/data.pkl", &none());
    entry.size += 10;
    entry.compressed_size += 10;
    refused(zip(&[entry]), "beyond the end of the file");
}

#[test]
fn entry_count_beyond_the_file_is_refused() {
    let mut file = zip(&[Entry::new("x/data.pkl", &none())]);
    let end = file.len() - 22;
    file[end + 8..end + 12].copy_from_slice(&[0xfe, 0xff, 0xfe, 0xff]);
    refused(file, "zip");
}

#[test]
fn entry_name_that_leaves_the_folder_is_refused() {
    for name in
        ["../x/data.pkl", "/x/data.pkl", "x/../data.pkl", "x//a", "x\\data.pkl", "C:/x", "x/\0"]
    {
        let entries = [Entry::new("x/data.pkl", &none()), Entry::new(name, b"")];
        refused(zip(&entries), "not a plain relative path");
    }
}

#[test]
fn repeated_entry_name_is_refused() {
    let entry = Entry::new("x/data.pkl", &none());
    refused(zip(&[entry.clone(), entry]), "same name");
}

#[test]
fn big_endian_archive_is_refused() {
    let entries = [Entry::new("x/data.pkl", &none()), Entry::new("x/byteorder", b"big")];
    refused(zip(&entries), "not little-endian");
    assert!(open(archive(&none(), &[])).is_ok());
}

#[test]
fn archive_without_tensors_is_data() {
    let checkpoint = open(archive(&none(), &[])).unwrap();
    assert!(checkpoint.is_empty());
    assert!(checkpoint.root().is_some());
}

/// A cheap deterministic source of positions and values.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[test]
fn damaged_archive_never_panics() {
    let good = good_archive();
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut bad = good.clone();
        for _ in 0..=next(&mut state) % 3 {
            let at = (next(&mut state) as usize) % bad.len();
            bad[at] = next(&mut state) as u8;
        }
        match open(bad) {
            Err(error) => {
                let line = error.to_string();
                assert!(!line.chars().any(char::is_control), "{line:?}");
                refused += 1;
            }
            // What is still accepted must still be readable.
            Ok(checkpoint) => {
                for name in checkpoint.names() {
                    let view = checkpoint.get(name).unwrap();
                    assert!(view.data().len() <= good.len());
                }
            }
        }
    }
    assert!(refused > 5_000, "only {refused} were refused");
}

#[test]
fn archive_with_a_64_bit_directory_is_read() {
    let checkpoint = open(as_zip64(&good_archive())).unwrap();
    let plain = open(good_archive()).unwrap();
    assert_eq!(checkpoint.len(), 3);
    for name in plain.names() {
        assert!(checkpoint.get(name) == plain.get(name));
    }
}

#[test]
fn huge_counts_in_a_64_bit_directory_are_refused() {
    let good = as_zip64(&good_archive());
    let record = good.len() - 22 - 20 - 56;
    // Number of entries (twice), size and start of the directory.
    for fields in [24..40, 40..48, 48..56] {
        for value in [u64::MAX, 1 << 62, 1 << 40] {
            let mut bad = good.clone();
            for field in fields.clone().step_by(8) {
                bad[record + field..record + field + 8].copy_from_slice(&value.to_le_bytes());
            }
            // The size of the directory is not needed to read it; the others are.
            if let Err(error) = open(bad) {
                assert!(error.to_string().contains("zip"), "{error}");
            } else {
                assert_eq!(fields.start, 40);
            }
        }
    }
}

#[test]
fn half_precision_storages_are_read() {
    let half = [0x00u8, 0x3c, 0x00, 0xc0];
    for (class, expected) in [("HalfStorage", [1.0, -2.0]), ("BFloat16Storage", [0.0078125, -2.0])]
    {
        let p = Pickle::new().op(b"}").text("w").tensor(class, "0", 2, (0, &[2], &[1])).op(b"s");
        let checkpoint = open(archive(&p.stop(), &[("0", &half)])).unwrap();
        let wide = checkpoint.get("w").unwrap().to_f32_vec().unwrap();
        assert_eq!(wide, expected, "{class}");
    }
}
