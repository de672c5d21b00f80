//! `virnucpro consensus`: the grouping of a score table, alone.

use std::path::{Path, PathBuf};

use virnucpro_output::{AtomicFile, Consensus};

use crate::PipelineError;

/// What [`consensus`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsensusReport {
    /// The table that was read.
    pub input: PathBuf,
    /// The table that was written.
    pub output: PathBuf,
    /// Chunks in it.
    pub chunks: u64,
    /// Chunks called viral.
    pub viral_chunks: u64,
}

/// Groups the rows of a `prediction_results.txt` by chunk and writes the decision table.
///
/// # Errors
/// A table that cannot be read (naming file and line), or an output that cannot be written.
pub fn consensus(input: &Path, output: &Path) -> Result<ConsensusReport, PipelineError> {
    let consensus = Consensus::from_table(input, output)?;
    let mut file = AtomicFile::create(output)?;
    let counts = consensus.write(&mut file)?;
    file.commit()?;
    Ok(ConsensusReport {
        input: input.to_owned(),
        output: output.to_owned(),
        chunks: counts.chunks,
        viral_chunks: counts.viral_chunks,
    })
}
