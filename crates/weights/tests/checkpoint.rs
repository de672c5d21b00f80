//! Opening files and folders, taking tensors, writing and reading back.
#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::{good_archive, open, safetensors};
use virnucpro_backend::{DType, TensorView};
use virnucpro_weights::{Bytes, Checkpoint, Format, NamePattern, WeightsError, write_safetensors};

fn tensor(name: &str, value: u8) -> Vec<u8> {
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
    safetensors(&header, &[value])
}

#[track_caller]
fn open_error(path: &Path, what: &str) -> WeightsError {
    let error = Checkpoint::open(path).unwrap_err();
    let line = error.to_string();
    assert!(line.contains(what), "expected {what:?} in {line:?}");
    assert!(line.starts_with(&path.display().to_string()), "{line}");
    error
}

#[test]
fn folder_prefers_one_safetensors_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let error = open_error(path, "looked for model.safetensors, model.safetensors.index.json");
    assert!(matches!(error, WeightsError::NoWeights { looked_for, .. } if looked_for.len() == 4));
    fs::write(path.join("pytorch_model.bin"), good_archive()).unwrap();
    assert_eq!(Checkpoint::open(path).unwrap().format(), Format::PyTorch);
    fs::write(path.join("model.safetensors"), tensor("w", 1)).unwrap();
    let checkpoint = Checkpoint::open(path).unwrap();
    assert_eq!(checkpoint.format(), Format::Safetensors);
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["w"]);
    // A damaged first choice is an error, not a reason to take the second.
    fs::write(path.join("model.safetensors"), b"x").unwrap();
    open_error(&path.join("model.safetensors"), "neither");
}

#[test]
fn missing_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open_error(&folder.path().join("absent.pt"), "absent.pt: ");
    assert!(matches!(error, WeightsError::Io { .. }));
}

#[test]
fn long_path_is_named_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a".repeat(100)).join("b".repeat(100));
    open_error(&path, "bbb: ");
}

fn sharded(index: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.safetensors"), tensor("a", 1)).unwrap();
    fs::write(folder.path().join("b.safetensors"), tensor("b", 2)).unwrap();
    fs::write(folder.path().join("c.bin"), good_archive()).unwrap();
    fs::write(folder.path().join("model.safetensors.index.json"), index).unwrap();
    folder
}

#[test]
fn shards_are_joined() {
    let index =
        r#"{"metadata":{"total_size":2},"weight_map":{"a":"a.safetensors","b":"b.safetensors"}}"#;
    let folder = sharded(index);
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(checkpoint.get("b").unwrap().data(), [2]);
    assert_eq!(checkpoint.files().count(), 3);
    assert_eq!(checkpoint.begin_sha256().len(), 3);
}

#[test]
fn index_that_does_not_match_its_shards_is_refused() {
    for (map, what) in [
        (r#"{"a":"b.safetensors"}"#, "tensor a is not in shard b.safetensors"),
        (r#"{"a":"missing.safetensors"}"#, "shard missing.safetensors is missing"),
        (r#"{"a":"../a.safetensors"}"#, "not a plain file name"),
        (r#"{"a":"/etc/passwd"}"#, "not a plain file name"),
        (r#"{"a":"sub/a.safetensors"}"#, "not a plain file name"),
        (r#"{"a":"sub\\a.safetensors"}"#, "not a plain file name"),
        (r#"{"a":".."}"#, "not a plain file name"),
        (r#"{"a":""}"#, "not a plain file name"),
        (r#"{"a":"a.safetensors","a":"b.safetensors"}"#, "a occurs twice"),
        (r#"{"a":"a.safetensors","layer.weight":"c.bin"}"#, "another format"),
        (r#"{"a":1}"#, "not a valid index"),
        (r#"[]"#, "not a valid index"),
        (r#"{}"#, "it names no shard"),
    ] {
        let folder = sharded(&format!(r#"{{"weight_map":{map}}}"#));
        let error = Checkpoint::open(folder.path()).unwrap_err();
        assert!(matches!(error, WeightsError::BadIndex { .. }), "{error}");
        assert!(error.to_string().contains(what), "expected {what:?} in {error}");
    }
}

#[test]
fn reader_names_what_is_missing_misshapen_or_left_over() {
    let checkpoint = open(good_archive()).unwrap();
    let mut reader = checkpoint.reader();
    match reader.take("layer.bias", &[3]).unwrap_err() {
        WeightsError::MissingTensor { file, name } => {
            assert_eq!((file.as_str(), name.as_str()), ("evil.pth", "layer.bias"));
        }
        other => panic!("{other}"),
    }
    assert!(reader.take_optional("layer.bias", &[3]).unwrap().is_none());
    match reader.take("layer.weight", &[2, 3]).unwrap_err() {
        WeightsError::WrongShape { expected, found, .. } => {
            assert_eq!((expected, found), (vec![2, 3], vec![3, 2]));
        }
        other => panic!("{other}"),
    }
    match reader.take("layer.count", &[]).unwrap_err() {
        WeightsError::WrongDType { found, .. } => assert_eq!(found, DType::I64),
        other => panic!("{other}"),
    }
    assert!(reader.take_as("layer.count", &[], &[DType::I64]).is_ok());
    assert!(reader.take("layer.weight", &[3, 2]).is_ok());
    match reader.finish(&[NamePattern::Prefix("other.")]).unwrap_err() {
        WeightsError::UnexpectedTensor { name, .. } => assert_eq!(name, "layer.tied"),
        other => panic!("{other}"),
    }
    for allowed in [
        NamePattern::Exact("layer.tied"),
        NamePattern::Prefix("layer."),
        NamePattern::Suffix(".tied"),
    ] {
        let mut reader = checkpoint.reader();
        reader.take("layer.weight", &[3, 2]).unwrap();
        reader.take_as("layer.count", &[], &[DType::I64]).unwrap();
        reader.finish(&[allowed]).unwrap();
    }
}

#[test]
fn written_file_is_read_back_and_by_the_reference() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.safetensors");
    let source = open(good_archive()).unwrap();
    let tensors: Vec<(&str, TensorView<'_>)> =
        source.names().map(|name| (name, source.get(name).unwrap())).collect();
    let metadata = BTreeMap::from([("format".to_owned(), "pt \"quoted\"\n".to_owned())]);
    write_safetensors(&path, &tensors, &metadata).unwrap();
    let back = Checkpoint::open(&path).unwrap();
    assert_eq!(back.metadata(), &metadata);
    assert_eq!(back.len(), 3);
    let bytes = fs::read(&path).unwrap();
    let reference = ::safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, view) in &tensors {
        assert!(back.get(name).unwrap() == *view);
        assert_eq!(reference.tensor(name).unwrap().data(), view.data());
    }
    // Nothing else is left, and equal input gives an equal file.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let again = folder.path().join("again.safetensors");
    write_safetensors(&again, &tensors, &metadata).unwrap();
    assert_eq!(bytes, fs::read(&again).unwrap());
}

#[test]
fn failed_write_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let view = TensorView::new(DType::U8, vec![1], &[1]).unwrap();
    let empty = BTreeMap::new();
    let path = folder.path().join("out.safetensors");
    let twice = [("w", view.clone()), ("w", view.clone())];
    assert!(write_safetensors(&path, &twice, &empty).is_err());
    let reserved = [("__metadata__", view.clone())];
    assert!(write_safetensors(&path, &reserved, &empty).is_err());
    // The target is a folder, so the rename fails after the data was written.
    fs::create_dir(&path).unwrap();
    fs::write(path.join("kept"), b"x").unwrap();
    assert!(write_safetensors(&path, &[("w", view)], &empty).is_err());
    let left: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["out.safetensors"]);
}

#[test]
fn hash_is_the_one_of_the_file() {
    let hash_of = |element| {
        let file = Bytes::from(tensor("w", element));
        let checkpoint = Checkpoint::from_bytes("w", file.clone()).unwrap();
        let found = checkpoint.begin_sha256()[0].wait().to_owned();
        assert_eq!(found, file.sha256());
        assert_eq!(found.len(), 64);
        found
    };
    assert_ne!(hash_of(1), hash_of(2));
}

#[test]
fn summary_counts_and_prints() {
    let summary = open(good_archive()).unwrap().summary();
    assert_eq!(summary.total_parameters, 13);
    assert_eq!(summary.total_bytes, 56);
    let text = summary.to_string();
    assert!(text.contains("3 tensors, 13 parameters, 56 bytes"), "{text}");
    assert!(text.contains("layer.weight"), "{text}");
    assert!(text.contains("class torch.nn.modules.linear.Linear"), "{text}");
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["tensors"][2]["shape"], serde_json::json!([3, 2]));
    assert_eq!(json["format"], "pytorch");
}
