//! Owns Parquet embeddings: an id column and a list column, in bounded row groups.

use super::{EmbeddingLayout, EmbeddingSpec, Sink};
use crate::{AtomicFile, Error, OutputSet, Result};
use arrow_array::{
    ArrayRef, RecordBatch,
    builder::{
        ArrayBuilder, FixedSizeListBuilder, Float32Builder, Int32Builder, ListBuilder,
        StringBuilder,
    },
};
use arrow_schema::{DataType, Field, Schema};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    errors::ParquetError,
    file::{
        metadata::KeyValue,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// Rows are handed to the encoder in batches of about this size.
const BATCH_VALUES: usize = 1 << 20;
const BATCH_ROWS: usize = 4096;
/// Encoded bytes held back before a row group is written; bounds memory.
const ROW_GROUP_BYTES: usize = 64 << 20;
/// Arrow's 32-bit offsets cannot count more values in one batch.
const MAX_LIST_VALUES: usize = i32::MAX as usize;

pub(super) struct ParquetSink {
    path: PathBuf,
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
    ids: StringBuilder,
    n_tokens: Int32Builder,
    embeddings: Embeddings,
    batch_values: usize,
}

enum Embeddings {
    Pooled(FixedSizeListBuilder<Float32Builder>),
    PerToken(ListBuilder<Float32Builder>),
}

impl ParquetSink {
    pub(super) fn create(path: &Path, spec: EmbeddingSpec) -> Result<Self> {
        let hidden_size = i32::try_from(spec.hidden_size).map_err(|_| Error::EmbeddingSpec {
            path: path.to_owned(),
            reason: format!("embeddings of size {} are too long for Parquet", spec.hidden_size),
        })?;
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let mut fields = vec![Field::new("id", DataType::Utf8, false)];
        let values = Float32Builder::new();
        let (list, embeddings) = match spec.layout {
            EmbeddingLayout::Pooled => (
                DataType::FixedSizeList(item.clone(), hidden_size),
                Embeddings::Pooled(FixedSizeListBuilder::new(values, hidden_size).with_field(item)),
            ),
            EmbeddingLayout::PerToken => {
                fields.push(Field::new("n_tokens", DataType::Int32, false));
                let list = DataType::List(item.clone());
                (list, Embeddings::PerToken(ListBuilder::new(values).with_field(item)))
            }
        };
        fields.push(Field::new("embedding", list, false));
        let schema = Arc::new(Schema::new(fields));
        let file = AtomicFile::create(path)?;
        let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties(spec.metadata)))
            .map_err(|source| named(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            schema,
            ids: StringBuilder::new(),
            n_tokens: Int32Builder::new(),
            embeddings,
            batch_values: 0,
        })
    }

    fn flush_batch(&mut self) -> Result<()> {
        if self.ids.is_empty() {
            return Ok(());
        }
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.ids.finish())];
        match &mut self.embeddings {
            Embeddings::Pooled(lists) => columns.push(Arc::new(lists.finish())),
            Embeddings::PerToken(lists) => {
                columns.push(Arc::new(self.n_tokens.finish()));
                columns.push(Arc::new(lists.finish()));
            }
        }
        self.batch_values = 0;
        let path = self.path.as_path();
        RecordBatch::try_new(self.schema.clone(), columns)
            .map_err(ParquetError::from)
            .and_then(|batch| self.writer.write(&batch))
            .map_err(|source| named(path, source))?;
        if self.writer.in_progress_size() >= ROW_GROUP_BYTES {
            self.writer.flush().map_err(|source| named(path, source))?;
        }
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn append(&mut self, id: &str, rows: u64, values: &[f32]) -> Result<()> {
        if values.len() > MAX_LIST_VALUES {
            return Err(Error::Embedding {
                path: self.path.clone(),
                id: id.to_owned(),
                reason: format!("{} values are too many for one Parquet list", values.len()),
            });
        }
        // Checked before the append, so that one very long sequence joins no full batch.
        if self.batch_values + values.len() > BATCH_VALUES || self.ids.len() >= BATCH_ROWS {
            self.flush_batch()?;
        }
        self.ids.append_value(id);
        self.batch_values += values.len();
        match &mut self.embeddings {
            Embeddings::Pooled(lists) => {
                lists.values().append_slice(values);
                lists.append(true);
            }
            Embeddings::PerToken(lists) => {
                // Rows are at most the values, which fit.
                self.n_tokens.append_value(i32::try_from(rows).unwrap_or(i32::MAX));
                lists.values().append_slice(values);
                lists.append(true);
            }
        }
        Ok(())
    }

    fn add_metadata(&mut self, key: &str, value: &str) -> Result<()> {
        self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn close(mut self: Box<Self>) -> Result<OutputSet> {
        self.flush_batch()?;
        let path = self.path;
        let file = self.writer.into_inner().map_err(|source| named(&path, source))?;
        let mut outputs = OutputSet::new();
        outputs.push(file);
        Ok(outputs)
    }
}

/// Floats of embeddings neither repeat nor compress, so only ids are compressed.
fn properties(metadata: Vec<(String, String)>) -> WriterProperties {
    let metadata = metadata.into_iter().map(|(key, value)| KeyValue::new(key, value)).collect();
    WriterProperties::builder()
        .set_key_value_metadata(Some(metadata))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_compression(Compression::UNCOMPRESSED)
        .set_column_compression(ColumnPath::from("id"), Compression::SNAPPY)
        .set_created_by(concat!("virnucpro ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

fn named(path: &Path, source: ParquetError) -> Error {
    Error::Parquet { path: path.to_owned(), source }
}
