use proptest::prelude::*;
use safetensors::{Dtype, tensor::TensorView};
use std::{fs, path::PathBuf};
use virnucpro_output::{read_features, read_npy, read_safetensors_features};

/// An NPY file of any version with any header text.
fn npy(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    if version == 1 {
        bytes.extend((header.len() as u16).to_le_bytes());
    } else {
        bytes.extend((header.len() as u32).to_le_bytes());
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn header(descr: &str, order: &str, shape: &str) -> String {
    format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}   \n")
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn npy_message(bytes: &[u8]) -> String {
    let folder = Folder::new();
    let path = folder.file("x.npy", bytes);
    let message = read_npy(&path).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn npy_float_types_and_versions_are_read() {
    let folder = Folder::new();
    let values = [1.5_f32, -2.0, 0.25, 1024.0, 0.0, -0.5];
    let f64s: Vec<u8> = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
    let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let f16s: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    for version in [1, 2, 3] {
        for (descr, data) in [("<f8", &f64s), ("<f4", &f32s), ("<f2", &f16s)] {
            let path = folder.file("v.npy", &npy(version, &header(descr, "False", "(2, 3)"), data));
            let array = read_npy(&path).unwrap();
            assert_eq!((array.rows, array.cols), (2, 3));
            assert_eq!(array.data, values);
            assert_eq!(array.row(1), &values[3..]);
        }
    }
}

#[test]
fn npy_without_rows_is_read() {
    let folder = Folder::new();
    let path = folder.file("e.npy", &npy(1, &header("<f4", "False", "(0, 3)"), b""));
    let array = read_npy(path).unwrap();
    assert_eq!((array.rows, array.cols, array.data.len()), (0, 3, 0));
}

#[test]
fn npy_larger_than_one_block_is_read() {
    let folder = Folder::new();
    let values: Vec<f32> = (0..50_000).map(|value| value as f32).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let path = folder.file("l.npy", &npy(1, &header("<f4", "False", "(500, 100)"), &bytes));
    assert_eq!(read_npy(path).unwrap().data, values);
}

#[test]
fn npy_of_other_kinds_is_refused() {
    let data = [0; 16];
    for (descr, order, shape, expected) in [
        (">f4", "False", "(2, 2)", "big-endian values (>f4)"),
        ("|O", "False", "(2, 2)", "Python objects"),
        ("<i4", "False", "(2, 2)", "element type \"<i4\""),
        ("<f4", "True", "(2, 2)", "Fortran order"),
        ("<f4", "False", "(4,)", "expected two dimensions, the shape is [4]"),
        ("<f4", "False", "()", "expected two dimensions, the shape is []"),
        ("<f4", "False", "(1, 2, 2)", "expected two dimensions"),
        ("<f4", "False", "(2, -2)", "\"-2\" in the shape is not a size"),
        ("<f4", "Maybe", "(2, 2)", "neither True nor False"),
        ("<f4", "False", "(2, 3)", "2 x 3 values of 4 bytes, but 16 bytes follow"),
        ("<f4", "False", "(1, 2)", "1 x 2 values of 4 bytes, but 16 bytes follow"),
    ] {
        let message = npy_message(&npy(1, &header(descr, order, shape), &data));
        assert!(message.contains(expected), "{message}");
    }
    let structured = "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 2), }";
    assert!(npy_message(&npy(1, structured, &data)).contains("structured"));
}

#[test]
fn npy_damaged_header_is_refused_without_allocation() {
    let huge = header("<f4", "False", "(4611686018427387904, 4)");
    assert!(npy_message(&npy(1, &huge, &[])).contains("0 bytes follow"));
    let huge = header("<f4", "False", "(1099511627776, 1024)");
    assert!(npy_message(&npy(2, &huge, &[0; 64])).contains("64 bytes follow"));
    assert!(npy_message(b"").contains("cut off"));
    assert!(npy_message(b"\x93NUMPY\x01\0\xff").contains("cut off"));
    assert!(npy_message(b"\x93NUMPY\x02\0\xff\xff\xff\xff").contains("claims 4294967295 bytes"));
    assert!(npy_message(b"PK\x03\x04zipped!").contains("not an NPY file"));
    assert!(npy_message(b"\x93NUMPY\x09\0\0\0").contains("version 9"));
    for text in ["", "{", "{'descr': '<f4'}", "{'descr' '<f4'}", "[]", "{'shape': (1, 2"] {
        npy_message(&npy(1, text, &[]));
    }
}

#[test]
fn npy_missing_file_is_named() {
    let message = read_npy("no/such.npy").unwrap_err().to_string();
    assert!(message.starts_with("cannot read no/such.npy: "), "{message}");
}

fn safetensors(tensors: &[(&str, Dtype, Vec<usize>, Vec<u8>)]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, data)| {
        (*name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

fn f32_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn safetensors_float_types_are_read() {
    let folder = Folder::new();
    let values = [1.5_f32, -2.0];
    let bf16 = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
    let f16 = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
    let f64s = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
    for (dtype, data) in [
        (Dtype::F32, f32_bytes(&values)),
        (Dtype::BF16, bf16),
        (Dtype::F16, f16),
        (Dtype::F64, f64s),
    ] {
        let path = folder.file("x.safetensors", &safetensors(&[("x", dtype, vec![1, 2], data)]));
        let features = read_safetensors_features(&path, None).unwrap();
        assert_eq!(features.array.data, values);
        assert_eq!((features.array.rows, features.array.cols), (1, 2));
        assert_eq!(features.ids, None);
    }
}

#[test]
fn safetensors_tensor_is_chosen_by_name_or_alone() {
    let folder = Folder::new();
    let bytes = safetensors(&[
        ("a", Dtype::F32, vec![1, 1], f32_bytes(&[1.0])),
        ("b", Dtype::F32, vec![1, 1], f32_bytes(&[2.0])),
        ("cu", Dtype::I64, vec![1], vec![0; 8]),
    ]);
    let path = folder.file("m.safetensors", &bytes);
    assert_eq!(read_safetensors_features(&path, Some("b")).unwrap().array.data, [2.0]);
    let message = read_safetensors_features(&path, None).unwrap_err().to_string();
    assert!(message.ends_with("several 2-D tensors, name one of: a, b, cu"), "{message}");
    let message = read_safetensors_features(&path, Some("z")).unwrap_err().to_string();
    assert!(message.ends_with("no tensor \"z\", the file has: a, b, cu"), "{message}");
    let message = read_safetensors_features(&path, Some("cu")).unwrap_err().to_string();
    assert!(message.contains("tensor \"cu\": expected two dimensions"), "{message}");
}

#[test]
fn safetensors_damaged_is_refused() {
    let folder = Folder::new();
    for bytes in [&b""[..], b"\xff\xff\xff\xff\xff\xff\xff\x7f{}", b"\x02\0\0\0\0\0\0\0[]"] {
        let path = folder.file("d.safetensors", bytes);
        let message = read_safetensors_features(&path, None).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{}: ", path.display())), "{message}");
    }
}

#[test]
fn features_ids_that_do_not_match_rows_are_refused() {
    let folder = Folder::new();
    let path = folder.file("f.npy", &npy(1, &header("<f4", "False", "(2, 1)"), &[0; 8]));
    assert_eq!(read_features(&path, None).unwrap().ids, None);
    let ids = folder.file("f.ids.txt", b"a\n");
    let message = read_features(&path, None).unwrap_err().to_string();
    assert_eq!(message, format!("{}: 1 ids for 2 rows of features", ids.display()));
    fs::write(&ids, "a\nb\n").unwrap();
    assert_eq!(read_features(&path, None).unwrap().ids.unwrap(), ["a", "b"]);
    let message = read_features("f.csv", None).unwrap_err().to_string();
    assert_eq!(message, "f.csv: features are read from .npy or .safetensors files");
}

proptest! {
    #[test]
    fn prop_npy_reader_survives_any_bytes(
        version in 1_u8..4,
        text in "[{}'a-z_:, ()<f48TrueFals0-9]{0,60}",
        data in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let folder = Folder::new();
        let path = folder.file("r.npy", &npy(version, &text, &data));
        if let Ok(array) = read_npy(path) {
            prop_assert_eq!(array.data.len(), array.rows * array.cols);
        }
    }
}
