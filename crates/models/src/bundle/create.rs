//! Making a bundle from local models.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use virnucpro_weights::{Bytes, Checkpoint};

use super::archive::write_archive;
use super::manifest::{
    ClassifierPart, ENCODER_FILES, EncoderPart, MANIFEST, Manifest, check_chunk_lengths,
};
use crate::classifier::StoredClassifier;
use crate::convert::{write_classifier, write_encoder};
use crate::staging::{PartialFolder, refuse_existing};
use crate::{EncoderSource, ModelError};

/// A classifier file and the chunk lengths it was trained on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassifierFile {
    /// Chunk lengths in nucleotides.
    pub chunk_lengths: Vec<usize>,
    /// The checkpoint: safetensors, or the original tool's `.pth`.
    pub path: PathBuf,
}

/// What goes into a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleRecipe {
    /// Name shown to users.
    pub name: String,
    /// ESM-2: a Hugging Face folder or a fair-esm checkpoint.
    pub protein_encoder: PathBuf,
    /// DNABERT-S: a folder with `config.json`, weights and `tokenizer.json`.
    pub nucleotide_encoder: PathBuf,
    /// Classifiers.
    pub classifiers: Vec<ClassifierFile>,
}

/// Writes a bundle to `output`: a folder, or a single file if the name ends in `.vnp`.
///
/// Every model is checked before the first byte is written. The bundle is put together under a
/// name ending in `.partial` and renamed when it is complete; an existing output is not touched.
///
/// # Errors
/// A model that cannot be read or does not fit the others, [`ModelError::OutputExists`], or an
/// output that cannot be written.
pub fn create(recipe: &BundleRecipe, output: &Path) -> Result<Manifest, ModelError> {
    let refuse = |reason: String| ModelError::bundle(&output.display().to_string(), reason);
    check_chunk_lengths(recipe.classifiers.iter().map(|c| &c.chunk_lengths[..])).map_err(refuse)?;
    let protein = open_encoder(&recipe.protein_encoder, "ESM-2")?;
    let nucleotide = open_encoder(&recipe.nucleotide_encoder, "DNABERT-S")?;
    let features = protein.config().hidden_size() + nucleotide.config().hidden_size();
    let mut checkpoints = Vec::with_capacity(recipe.classifiers.len());
    for classifier in &recipe.classifiers {
        let checkpoint = Checkpoint::open(&classifier.path)?;
        let found = StoredClassifier::take(&checkpoint)?.num_features();
        if found != features {
            let reason =
                format!("a classifier of {found} features, the encoders give {features} together");
            return Err(ModelError::config(checkpoint.source(), reason));
        }
        checkpoints.push(checkpoint);
    }
    let is_archive = output.extension().is_some_and(|extension| extension == "vnp");
    if is_archive {
        // A file cannot take the place of an empty folder.
        refuse_existing(output)?;
    }

    let folder = PartialFolder::create(output)?;
    let part = |source: &EncoderSource, path: &str| -> Result<EncoderPart, ModelError> {
        folder.make_folder(path)?;
        write_encoder(source, &folder, &format!("{path}/"))?;
        encoder_part(folder.path(), path)
    };
    let protein_encoder = part(&protein, "esm2")?;
    let nucleotide_encoder = part(&nucleotide, "dnabert_s")?;
    folder.make_folder("heads")?;
    let mut classifiers = Vec::with_capacity(checkpoints.len());
    for (classifier, checkpoint) in recipe.classifiers.iter().zip(&checkpoints) {
        let lengths: Vec<String> = classifier.chunk_lengths.iter().map(usize::to_string).collect();
        let path = format!("heads/{}.safetensors", lengths.join("_"));
        let file = folder.path().join(&path);
        write_classifier(&StoredClassifier::take(checkpoint)?, &file)?;
        let (sha256, chunk_lengths) = (hash(&file)?, classifier.chunk_lengths.clone());
        classifiers.push(ClassifierPart { path, sha256, chunk_lengths });
    }
    let manifest =
        Manifest::new(recipe.name.clone(), protein_encoder, nucleotide_encoder, classifiers);
    manifest.check().map_err(refuse)?;
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| refuse(e.to_string()))?;
    folder.write(MANIFEST, &json)?;
    if is_archive {
        const ARCHIVE: &str = "archive";
        let archive = folder.path().join(ARCHIVE);
        write_archive(folder.path(), &manifest, &archive).map_err(ModelError::io(&archive))?;
        folder.finish_as_file(ARCHIVE)?;
    } else {
        folder.finish()?;
    }
    Ok(manifest)
}

fn open_encoder(path: &Path, expected: &str) -> Result<EncoderSource, ModelError> {
    let source = EncoderSource::open(path)?;
    source.expect_architecture(expected)?;
    source.check()?;
    source.tokenizer()?;
    Ok(source)
}

fn hash(path: &Path) -> Result<String, ModelError> {
    Ok(Bytes::map(path).map_err(ModelError::io(path))?.sha256())
}

fn encoder_part(folder: &Path, path: &str) -> Result<EncoderPart, ModelError> {
    let mut files = BTreeMap::new();
    for name in ENCODER_FILES {
        let file = folder.join(path).join(name);
        if file.exists() {
            files.insert(name.to_owned(), hash(&file)?);
        }
    }
    Ok(EncoderPart { path: path.to_owned(), files })
}
