use crate::names_in;
use arrow_array::{
    Array, FixedSizeListArray, Float32Array, Int32Array, ListArray, StringArray, cast::AsArray,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;
use safetensors::SafeTensors;
use std::{fs, path::Path};
use virnucpro_output::{
    EmbeddingLayout, EmbeddingSpec, EmbeddingWriter, Error, read_features, read_npy,
};

const FORMATS: [&str; 3] = ["npy", "safetensors", "parquet"];

fn spec(hidden_size: usize, layout: EmbeddingLayout) -> EmbeddingSpec {
    let metadata = vec![("tool".to_owned(), "a test".to_owned())];
    EmbeddingSpec { hidden_size, layout, metadata }
}

fn finish(mut writer: EmbeddingWriter) -> u64 {
    writer.add_metadata("model_sha256", "ab\"12").unwrap();
    writer.finish().unwrap()
}

fn pooled(path: &Path, hidden_size: usize, rows: &[(String, Vec<f32>)]) {
    let mut writer =
        EmbeddingWriter::create(path, spec(hidden_size, EmbeddingLayout::Pooled)).unwrap();
    for (id, embedding) in rows {
        writer.push(id, embedding).unwrap();
    }
    assert_eq!(finish(writer), rows.len() as u64);
}

fn per_token(path: &Path, hidden_size: usize, rows: &[(String, Vec<f32>)]) {
    let spec = spec(hidden_size, EmbeddingLayout::PerToken);
    let mut writer = EmbeddingWriter::create(path, spec).unwrap();
    for (id, states) in rows {
        writer.push_tokens(id, states).unwrap();
    }
    finish(writer);
}

/// Rows as read back: id, number of tokens where the file says it, values.
type Rows = Vec<(String, Option<i32>, Vec<f32>)>;

fn read_parquet(path: &Path) -> Rows {
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(path).unwrap()).unwrap();
    let metadata = builder.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let hash = metadata.iter().find(|entry| entry.key == "model_sha256").unwrap();
    assert_eq!(hash.value.as_deref(), Some("ab\"12"));
    let mut rows = Vec::new();
    for batch in builder.build().unwrap() {
        let batch = batch.unwrap();
        let ids: &StringArray = batch["id"].as_string();
        let n_tokens: Option<&Int32Array> =
            batch.column_by_name("n_tokens").map(|column| column.as_primitive());
        let lists = &batch["embedding"];
        for index in 0..batch.num_rows() {
            let values = match lists.as_any().downcast_ref::<FixedSizeListArray>() {
                Some(fixed) => fixed.value(index),
                None => lists.as_any().downcast_ref::<ListArray>().unwrap().value(index),
            };
            let values: &Float32Array = values.as_primitive();
            rows.push((
                ids.value(index).to_owned(),
                n_tokens.map(|column| column.value(index)),
                values.values().to_vec(),
            ));
        }
    }
    rows
}

fn sample(count: usize, hidden_size: usize) -> Vec<(String, Vec<f32>)> {
    (0..count)
        .map(|row| {
            let values = (0..hidden_size).map(|col| (row * 31 + col) as f32 * 0.37 - 5.0);
            (format!("seq\"é{}", row % 7), values.collect())
        })
        .collect()
}

fn cu_seqlens_of(npy: &[u8]) -> Vec<i64> {
    assert_eq!(npy.len() % 8, 0);
    npy[128..].chunks(8).map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

#[test]
fn pooled_embeddings_come_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    for count in [0, 1, 2, 5000] {
        let rows = sample(count, 6);
        for format in FORMATS {
            let path = folder.path().join(format!("{count}.b.{format}"));
            pooled(&path, 6, &rows);
            let found: Rows = if format == "parquet" {
                read_parquet(&path)
            } else {
                let features = read_features(&path, None).unwrap();
                assert_eq!((features.array.rows, features.array.cols), (count, 6));
                let ids = features.ids.unwrap();
                let values = (0..count).map(|row| features.array.row(row).to_vec());
                ids.into_iter().zip(values).map(|(id, row)| (id, None, row)).collect()
            };
            let expected: Rows =
                rows.iter().map(|(id, values)| (id.clone(), None, values.clone())).collect();
            assert_eq!(found, expected, "{format} {count}");
        }
    }
    assert!(folder.path().join("2.b.ids.txt").is_file());
    assert!(names_in(folder.path()).iter().all(|name| !name.ends_with(".partial")));
}

#[test]
fn token_embeddings_come_back_from_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<(String, Vec<f32>)> = [3, 0, 1, 5]
        .iter()
        .enumerate()
        .map(|(row, &tokens)| (format!("s{row}"), vec![row as f32 + 0.5; tokens * 4]))
        .collect();
    let flat: Vec<f32> = rows.iter().flat_map(|(_, values)| values.clone()).collect();
    for format in FORMATS {
        per_token(&folder.path().join(format!("t.{format}")), 4, &rows);
    }

    let array = read_npy(folder.path().join("t.npy")).unwrap();
    assert_eq!((array.rows, array.cols), (9, 4));
    assert_eq!(array.data, flat);
    let offsets = fs::read(folder.path().join("t.cu_seqlens.npy")).unwrap();
    assert_eq!(cu_seqlens_of(&offsets), [0, 3, 3, 4, 9]);
    let header = String::from_utf8_lossy(&offsets[10..128]);
    assert!(header.starts_with("{'descr': '<i8', 'fortran_order': False, 'shape': (5,), }"));
    assert_eq!(fs::read_to_string(folder.path().join("t.ids.txt")).unwrap(), "s0\ns1\ns2\ns3\n");

    let bytes = fs::read(folder.path().join("t.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let offsets = file.tensor("cu_seqlens").unwrap();
    assert_eq!((offsets.dtype(), offsets.shape()), (safetensors::Dtype::I64, &[5][..]));
    assert_eq!(offsets.data()[32..], 9_i64.to_le_bytes());
    assert_eq!(file.tensor("embeddings").unwrap().shape(), [9, 4]);
    let metadata = SafeTensors::read_metadata(&bytes).unwrap().1.metadata().clone().unwrap();
    assert_eq!(metadata["ids"], r#"["s0","s1","s2","s3"]"#);
    assert_eq!(metadata["model_sha256"], "ab\"12");

    let tokens = [3, 0, 1, 5];
    let expected: Rows = rows
        .into_iter()
        .zip(tokens)
        .map(|((id, values), tokens)| (id, Some(tokens), values))
        .collect();
    assert_eq!(read_parquet(&folder.path().join("t.parquet")), expected);
}

#[test]
fn parquet_row_groups_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.parquet");
    let hidden_size = 2560;
    let mut writer =
        EmbeddingWriter::create(&path, spec(hidden_size, EmbeddingLayout::Pooled)).unwrap();
    let embedding = vec![0.25; hidden_size];
    for row in 0..16_000 {
        writer.push(&format!("s{row}"), &embedding).unwrap();
    }
    writer.finish().unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(fs::File::open(&path).unwrap()).unwrap();
    let groups = builder.metadata().row_groups();
    assert!(groups.len() >= 2, "{}", groups.len());
    for group in groups {
        assert!(group.total_byte_size() < 80 << 20, "{}", group.total_byte_size());
    }
    assert_eq!(groups.iter().map(|group| group.num_rows()).sum::<i64>(), 16_000);
}

#[test]
fn embedding_of_wrong_shape_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for format in FORMATS {
        let path = folder.path().join(format!("p.{format}"));
        let mut writer = EmbeddingWriter::create(&path, spec(3, EmbeddingLayout::Pooled)).unwrap();
        let message = writer.push("seq1", &[1.0, 2.0]).unwrap_err().to_string();
        assert!(message.ends_with("embedding of \"seq1\": 2 values, expected 3"), "{message}");
        assert!(writer.push_tokens("seq1", &[1.0; 3]).is_err());
        assert_eq!(writer.num_seqs(), 0);
        drop(writer);
        let path = folder.path().join(format!("t.{format}"));
        let mut writer =
            EmbeddingWriter::create(&path, spec(3, EmbeddingLayout::PerToken)).unwrap();
        let message = writer.push_tokens("seq1", &[1.0; 4]).unwrap_err().to_string();
        assert!(message.ends_with("4 values, no multiple of 3"), "{message}");
        assert!(writer.push("seq1", &[1.0; 3]).is_err());
    }
    assert!(names_in(folder.path()).is_empty(), "a dropped writer leaves nothing");
}

#[test]
fn embedding_file_settings_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str, spec| EmbeddingWriter::create(folder.path().join(name), spec);
    for name in ["e.csv", "e", "e.npy.gz"] {
        let error = create(name, spec(3, EmbeddingLayout::Pooled)).unwrap_err();
        assert!(matches!(error, Error::UnknownFormat { .. }), "{error}");
    }
    for format in FORMATS {
        assert!(create(&format!("e.{format}"), spec(0, EmbeddingLayout::Pooled)).is_err());
    }
    let mut reserved = spec(3, EmbeddingLayout::Pooled);
    reserved.metadata.push(("ids".to_owned(), "x".to_owned()));
    assert!(matches!(create("e.safetensors", reserved), Err(Error::EmbeddingSpec { .. })));
    let mut begun = create("e.safetensors", spec(3, EmbeddingLayout::Pooled)).unwrap();
    for key in ["ids", "tool"] {
        assert!(matches!(begun.add_metadata(key, "x"), Err(Error::EmbeddingSpec { .. })), "{key}");
    }
    begun.add_metadata("other", "x").unwrap();
    drop(begun);
    assert!(names_in(folder.path()).is_empty());
    create("E.NPY", spec(3, EmbeddingLayout::Pooled)).unwrap().finish().unwrap();
}

#[test]
fn embedding_outputs_join_a_run_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("e.npy");
    let mut writer = EmbeddingWriter::create(&path, spec(1, EmbeddingLayout::PerToken)).unwrap();
    writer.push_tokens("a", &[1.0]).unwrap();
    let outputs = writer.into_outputs().unwrap();
    assert!(!path.exists());
    outputs.commit().unwrap();
    assert_eq!(names_in(folder.path()), ["e.cu_seqlens.npy", "e.ids.txt", "e.npy"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn prop_embedding_bits_survive_every_format(
        bits in prop::collection::vec(any::<u32>(), 1..50),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<(String, Vec<f32>)> = bits
            .iter()
            .enumerate()
            .map(|(row, &bits)| (row.to_string(), vec![f32::from_bits(bits)]))
            .collect();
        for format in FORMATS {
            let path = folder.path().join(format!("b.{format}"));
            pooled(&path, 1, &rows);
            let values: Vec<f32> = if format == "parquet" {
                read_parquet(&path).into_iter().flat_map(|row| row.2).collect()
            } else {
                read_features(&path, None).unwrap().array.data
            };
            let found: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
            prop_assert_eq!(&found, &bits, "{}", format);
        }
    }
}
