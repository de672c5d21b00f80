//! `virnucpro classify`: scores from features made elsewhere.

use std::io::Write;
use std::path::{Path, PathBuf};

use virnucpro_models::Classifier;
use virnucpro_output::{AtomicFile, PredictionTable, read_features};
use virnucpro_weights::Checkpoint;

use crate::{Device, PipelineError};

/// Settings of [`classify`].
#[derive(Clone, Debug)]
pub struct ClassifyConfig {
    /// Features `[rows, num_features]`: `.npy` or `.safetensors`.
    pub features: PathBuf,
    /// Tensor of a `.safetensors` file; its only matrix if not given.
    pub tensor: Option<String>,
    /// The classifier's checkpoint.
    pub head: PathBuf,
}

/// What [`classify`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassifyReport {
    /// Rows scored.
    pub rows: u64,
    /// Rows called viral.
    pub viral_rows: u64,
}

/// Scores every row of features and writes a table in the layout of `prediction_results.txt`.
///
/// Rows are named by the ids beside the features, or by their number from 1.
///
/// # Errors
/// Files that cannot be read or do not fit each other, or those of the writer.
pub fn classify(
    config: &ClassifyConfig,
    device: &Device,
    output: &mut dyn Write,
) -> Result<ClassifyReport, PipelineError> {
    let backend = &**device.cpu();
    let classifier = Classifier::load(backend, &Checkpoint::open(&config.head)?)?;
    let features = read_features(&config.features, config.tensor.as_deref())?;
    let expected = classifier.num_features();
    if features.array.cols != expected {
        let found = features.array.cols;
        return Err(virnucpro_models::ModelError::FeatureWidth { expected, found }.into());
    }
    let scores = classifier.score(backend, &features.array.data)?;
    let mut table = PredictionTable::new(output)?;
    for (row, score) in scores.iter().enumerate() {
        let id = match &features.ids {
            Some(ids) => ids[row].clone(),
            None => (row + 1).to_string(),
        };
        let [score1, score2] = score.probabilities;
        table.push(&id, score1, score2)?;
    }
    let report = ClassifyReport { rows: table.rows(), viral_rows: table.viral_rows() };
    table.into_inner().flush()?;
    Ok(report)
}

/// [`classify`] into a file that appears only when it is complete.
///
/// # Errors
/// Those of [`classify`], or an output that cannot be written.
pub fn classify_to_file(
    config: &ClassifyConfig,
    device: &Device,
    output: &Path,
) -> Result<ClassifyReport, PipelineError> {
    let mut file = AtomicFile::create(output)?;
    let report = classify(config, device, &mut file)?;
    file.commit()?;
    Ok(report)
}
