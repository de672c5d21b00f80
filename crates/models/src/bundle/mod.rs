//! Model bundles: two encoders, the tokenizer, and one classifier per chunk length.
//!
//! A bundle is a folder, a single file (an uncompressed zip archive of that folder), or the
//! `mini` bundle inside the program. Every file is bound to its SHA-256 by the manifest, and every
//! classifier to the chunk lengths it was trained on.

mod archive;
mod create;
mod files;
mod manifest;
mod mini;
mod verification;

use std::path::Path;

use virnucpro_backend::Backend;
use virnucpro_weights::{Bytes, Checkpoint, one_line};

pub use create::{BundleRecipe, ClassifierFile, create};
use files::BundleFiles;
pub use manifest::{ClassifierPart, EncoderPart, MANIFEST, Manifest};
use verification::expect_hash;
pub use verification::{Verification, Verified};

use crate::{Classifier, EncoderConfig, EncoderSource, ModelError};

/// An opened bundle, its manifest checked.
#[derive(Debug)]
pub struct Bundle {
    name: String,
    manifest: Manifest,
    files: BundleFiles,
}

/// One file of a bundle, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundlePart {
    /// `protein_encoder`, `nucleotide_encoder` or `classifier`.
    pub role: &'static str,
    /// Path inside the bundle.
    pub path: String,
    /// SHA-256 of its bytes, lower-case hexadecimal.
    pub sha256: String,
}

impl Bundle {
    /// The bundle that ships inside the program.
    ///
    /// # Errors
    /// None, unless the program itself is damaged.
    pub fn mini() -> Result<Self, ModelError> {
        Self::from_files("mini".into(), BundleFiles::Embedded(mini::FILES))
    }

    /// Opens a bundle folder or file.
    ///
    /// # Errors
    /// A missing or damaged manifest, or a file that is neither.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        Self::from_files(path.display().to_string(), BundleFiles::open(path)?)
    }

    /// Whether `path` is a bundle by its looks: a folder with a manifest, or a `.vnp` file.
    pub fn is_at(path: &Path) -> bool {
        path.join(MANIFEST).is_file() || path.extension().is_some_and(|ending| ending == "vnp")
    }

    fn from_files(name: String, files: BundleFiles) -> Result<Self, ModelError> {
        let manifest = Manifest::from_json(&name, &files.read(&name, MANIFEST)?)?;
        Ok(Self { name, manifest, files })
    }

    /// Where it came from: a path, or `mini`.
    pub fn source(&self) -> &str {
        &self.name
    }

    /// What it says it holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The protein encoder, every file checked against its hash.
    ///
    /// # Errors
    /// A missing or altered file, or one that is not a protein encoder.
    pub fn protein_encoder(&self) -> Result<EncoderSource, ModelError> {
        let mut verification = Verification::default();
        let source = self.unverified_protein_encoder(&mut verification)?;
        verification.wait()?;
        Ok(source)
    }

    /// The nucleotide encoder, every file checked against its hash.
    ///
    /// # Errors
    /// A missing or altered file, or one that is not a nucleotide encoder.
    pub fn nucleotide_encoder(&self) -> Result<EncoderSource, ModelError> {
        let mut verification = Verification::default();
        let source = self.unverified_nucleotide_encoder(&mut verification)?;
        verification.wait()?;
        Ok(source)
    }

    /// [`Self::protein_encoder`], whose weights are still being hashed for `verification`.
    ///
    /// # Errors
    /// A missing file, one that is not a protein encoder, or an altered one as far as it is known.
    pub fn unverified_protein_encoder(
        &self,
        verification: &mut Verification,
    ) -> Result<EncoderSource, ModelError> {
        self.encoder(&self.manifest.protein_encoder, "ESM-2", verification)
    }

    /// [`Self::nucleotide_encoder`], whose weights are still being hashed for `verification`.
    ///
    /// # Errors
    /// A missing file, one that is not a nucleotide encoder, or an altered one as far as it is known.
    pub fn unverified_nucleotide_encoder(
        &self,
        verification: &mut Verification,
    ) -> Result<EncoderSource, ModelError> {
        self.encoder(&self.manifest.nucleotide_encoder, "DNABERT-S", verification)
    }

    /// Chunk lengths there are classifiers for, in nucleotides, ascending.
    pub fn chunk_lengths(&self) -> Vec<usize> {
        let mut lengths: Vec<usize> =
            self.manifest.classifiers.iter().flat_map(|c| c.chunk_lengths.clone()).collect();
        lengths.sort_unstable();
        lengths
    }

    /// The classifier trained for chunks of `chunk_length` nucleotides.
    ///
    /// # Errors
    /// [`ModelError::NoClassifier`] for any other length; a missing or altered file, or a classifier
    /// of other features than the encoders give.
    pub fn classifier<B: Backend>(
        &self,
        backend: &B,
        chunk_length: usize,
    ) -> Result<Classifier<B>, ModelError> {
        let part = self.classifier_part(chunk_length)?;
        let bytes = self.checked(&part.path, &part.sha256)?;
        let name = format!("{}/{}", self.name, part.path);
        let classifier = Classifier::load(backend, &Checkpoint::from_bytes(&name, bytes)?)?;
        let (found, expected) = (classifier.num_features(), self.num_features()?);
        if found != expected {
            let reason = format!(
                "{} is a classifier of {found} features, the encoders give {expected} together",
                part.path
            );
            return Err(ModelError::bundle(&self.name, reason));
        }
        Ok(classifier)
    }

    /// Width of the features that the two encoders give together.
    fn num_features(&self) -> Result<usize, ModelError> {
        let hidden_size = |part: &EncoderPart| {
            let json = self.encoder_file(part, "config.json")?;
            let name = format!("{}/{}/config.json", self.name, part.path);
            Ok::<_, ModelError>(EncoderConfig::from_json(&name, &json)?.hidden_size())
        };
        let Manifest { protein_encoder, nucleotide_encoder, .. } = &self.manifest;
        Ok(hidden_size(nucleotide_encoder)? + hidden_size(protein_encoder)?)
    }

    /// Manifest entry of the classifier for `chunk_length`.
    ///
    /// # Errors
    /// [`ModelError::NoClassifier`] when there is none.
    pub fn classifier_part(&self, chunk_length: usize) -> Result<&ClassifierPart, ModelError> {
        let fits = |part: &&ClassifierPart| part.chunk_lengths.contains(&chunk_length);
        self.manifest.classifiers.iter().find(fits).ok_or_else(|| ModelError::NoClassifier {
            bundle: one_line(&self.name),
            chunk_length,
            available: self.chunk_lengths(),
        })
    }

    /// Every file used for chunks of `chunk_length`, with its hash.
    ///
    /// # Errors
    /// [`ModelError::NoClassifier`] when there is no classifier for that length.
    pub fn parts(&self, chunk_length: usize) -> Result<Vec<BundlePart>, ModelError> {
        let classifier = self.classifier_part(chunk_length)?;
        let encoder = |role: &'static str, part: &EncoderPart| -> Vec<BundlePart> {
            let files = part.paths();
            files.map(|(path, sha256)| BundlePart { role, path, sha256: sha256.into() }).collect()
        };
        let mut parts = encoder("protein_encoder", &self.manifest.protein_encoder);
        parts.extend(encoder("nucleotide_encoder", &self.manifest.nucleotide_encoder));
        parts.push(BundlePart {
            role: "classifier",
            path: classifier.path.clone(),
            sha256: classifier.sha256.clone(),
        });
        Ok(parts)
    }

    fn checked(&self, path: &str, expected: &str) -> Result<Bytes, ModelError> {
        let bytes = self.files.read(&self.name, path)?;
        expect_hash(&self.name, path, expected, &bytes.sha256())?;
        Ok(bytes)
    }

    /// Path of file `name` of an encoder, and its hash.
    fn listed<'a>(
        &self,
        part: &'a EncoderPart,
        name: &str,
    ) -> Result<(String, &'a str), ModelError> {
        let path = format!("{}/{name}", part.path);
        match part.files.get(name) {
            Some(sha256) => Ok((path, sha256)),
            None => Err(ModelError::bundle(&self.name, format!("{MANIFEST}: it lists no {path}"))),
        }
    }

    /// The bytes of file `name` of an encoder, checked against its hash.
    fn encoder_file(&self, part: &EncoderPart, name: &str) -> Result<Bytes, ModelError> {
        let (path, sha256) = self.listed(part, name)?;
        self.checked(&path, sha256)
    }

    fn encoder(
        &self,
        part: &EncoderPart,
        expected: &str,
        verification: &mut Verification,
    ) -> Result<EncoderSource, ModelError> {
        let config = self.encoder_file(part, "config.json")?;
        let (path, sha256) = self.listed(part, "model.safetensors")?;
        let weights = self.files.read(&self.name, &path)?;
        verification.begin(&self.name, &path, sha256, weights.clone());
        let open = || {
            let has_tokenizer = part.files.contains_key("tokenizer.json");
            let tokenizer =
                has_tokenizer.then(|| self.encoder_file(part, "tokenizer.json")).transpose()?;
            let name = format!("{}/{}", self.name, part.path);
            let checkpoint = Checkpoint::from_bytes(&format!("{name}/model.safetensors"), weights)?;
            let source = EncoderSource::from_parts(&name, config, checkpoint, tokenizer)?;
            source.expect_architecture(expected)?;
            Ok(source)
        };
        // Weights that were altered may look like anything.
        open().map_err(|error| verification.explain(error))
    }
}
