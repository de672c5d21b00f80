//! Making a bundle from local models.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use virnucpro_weights::{Bytes, Checkpoint};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::manifest::{ClassifierPart, EncoderPart, MANIFEST, Manifest};
use super::sha256_hex;
use crate::convert::{write_classifier, write_encoder};
use crate::{EncoderSource, ModelError};

/// Alignment of the files in a bundle archive, so that a mapped tensor starts on a cache line.
const ARCHIVE_ALIGNMENT: u16 = 64;

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
/// It is put together under a name ending in `.partial` and renamed when it is complete; an
/// existing output is not touched.
///
/// # Errors
/// A model that cannot be read or does not fit the others, or an output that exists or cannot be
/// written.
pub fn create(recipe: &BundleRecipe, output: &Path) -> Result<Manifest, ModelError> {
    let refuse =
        |reason: String| ModelError::Bundle { bundle: output.display().to_string(), reason };
    if output.exists() {
        return Err(refuse("exists already".into()));
    }
    let mut partial = output.as_os_str().to_owned();
    partial.push(".partial");
    let folder = PathBuf::from(partial);
    if folder.exists() {
        return Err(refuse(format!("{} is left from an earlier run; remove it", folder.display())));
    }
    let made = fill(recipe, &folder, output).inspect_err(|_error| {
        // The error that matters is the first one; a folder that cannot be removed is named by
        // the next run.
        let _ = fs::remove_dir_all(&folder);
    })?;
    Ok(made)
}

fn fill(recipe: &BundleRecipe, folder: &Path, output: &Path) -> Result<Manifest, ModelError> {
    let refuse =
        |reason: String| ModelError::Bundle { bundle: output.display().to_string(), reason };
    let protein = EncoderSource::open(&recipe.protein_encoder)?;
    let nucleotide = EncoderSource::open(&recipe.nucleotide_encoder)?;
    for (source, expected) in [(&protein, "ESM-2"), (&nucleotide, "DNABERT-S")] {
        let found = source.config().architecture();
        if found != expected {
            return Err(refuse(format!(
                "{} is a {found} model, expected {expected}",
                source.name()
            )));
        }
    }
    nucleotide.tokenizer()?;
    let features = protein.config().hidden_size() + nucleotide.config().hidden_size();
    write_encoder(&protein, &folder.join("esm2"))?;
    write_encoder(&nucleotide, &folder.join("dnabert_s"))?;
    let heads = folder.join("heads");
    fs::create_dir_all(&heads).map_err(io_error(&heads))?;
    let mut classifiers = Vec::new();
    for classifier in &recipe.classifiers {
        let checkpoint = Checkpoint::open(&classifier.path)?;
        let width = checkpoint.tensor("hidden_layer.weight").map(|t| t.shape().to_vec());
        if width.as_ref().and_then(|shape| shape.get(1)) != Some(&features) {
            return Err(refuse(format!(
                "{} is not a classifier of {features} features (its first layer is {width:?})",
                classifier.path.display()
            )));
        }
        let lengths: Vec<String> = classifier.chunk_lengths.iter().map(usize::to_string).collect();
        let path = format!("heads/{}.safetensors", lengths.join("_"));
        write_classifier(&checkpoint, &folder.join(&path))?;
        classifiers.push(ClassifierPart {
            sha256: hash(&folder.join(&path))?,
            path,
            chunk_lengths: classifier.chunk_lengths.clone(),
        });
    }
    let manifest = Manifest::new(
        recipe.name.clone(),
        encoder_part(folder, "esm2")?,
        encoder_part(folder, "dnabert_s")?,
        classifiers,
    );
    manifest.check().map_err(refuse)?;
    let json = serde_json::to_vec_pretty(&manifest).map_err(|e| refuse(e.to_string()))?;
    let path = folder.join(MANIFEST);
    fs::write(&path, json).map_err(io_error(&path))?;
    if output.extension().is_some_and(|extension| extension == "vnp") {
        archive(folder, &manifest, output)?;
        fs::remove_dir_all(folder).map_err(io_error(folder))?;
    } else {
        fs::rename(folder, output).map_err(io_error(output))?;
    }
    Ok(manifest)
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> ModelError {
    let file = path.display().to_string();
    move |source| ModelError::Io { file, source }
}

fn hash(path: &Path) -> Result<String, ModelError> {
    Ok(sha256_hex(&Bytes::map(path).map_err(io_error(path))?))
}

fn encoder_part(folder: &Path, path: &str) -> Result<EncoderPart, ModelError> {
    let mut files = BTreeMap::new();
    for name in ["config.json", "model.safetensors", "tokenizer.json"] {
        let file = folder.join(path).join(name);
        if file.exists() {
            files.insert(name.to_owned(), hash(&file)?);
        }
    }
    Ok(EncoderPart { path: path.to_owned(), files })
}

/// Writes the folder as one uncompressed archive, so that its files can be mapped in place.
fn archive(folder: &Path, manifest: &Manifest, output: &Path) -> Result<(), ModelError> {
    let mut paths = vec![MANIFEST.to_owned()];
    for part in [&manifest.protein_encoder, &manifest.nucleotide_encoder] {
        paths.extend(part.files.keys().map(|file| format!("{}/{file}", part.path)));
    }
    paths.extend(manifest.classifiers.iter().map(|classifier| classifier.path.clone()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true)
        .with_alignment(ARCHIVE_ALIGNMENT);
    let partial = folder.join("archive");
    let write = || -> io::Result<()> {
        let mut zip = ZipWriter::new(BufWriter::new(File::create(&partial)?));
        for path in &paths {
            zip.start_file(path.as_str(), options)?;
            zip.write_all(&Bytes::map(&folder.join(path))?)?;
        }
        let mut file = zip.finish()?;
        file.flush()?;
        file.get_ref().sync_all()?;
        fs::rename(&partial, output)
    };
    write().map_err(io_error(output))
}
