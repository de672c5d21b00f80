//! `bundle.json`: what a bundle holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// Name of the manifest inside a bundle.
pub const MANIFEST: &str = "bundle.json";

const FORMAT: &str = "virnucpro-bundle";
const VERSION: u32 = 1;

/// The contents of `bundle.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Always `virnucpro-bundle`.
    pub format: String,
    /// Version of this layout.
    pub version: u32,
    /// Name shown to users.
    pub name: String,
    /// ESM-2.
    pub protein_encoder: EncoderPart,
    /// DNABERT-S with its tokenizer.
    pub nucleotide_encoder: EncoderPart,
    /// Classifiers, each bound to its chunk lengths.
    pub classifiers: Vec<ClassifierPart>,
}

/// One encoder of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderPart {
    /// Folder inside the bundle.
    pub path: String,
    /// SHA-256 of each file in that folder, by file name.
    pub files: BTreeMap<String, String>,
}

/// One classifier of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassifierPart {
    /// File inside the bundle.
    pub path: String,
    /// SHA-256 of that file.
    pub sha256: String,
    /// Chunk lengths it was trained on, in nucleotides.
    pub chunk_lengths: Vec<usize>,
}

impl Manifest {
    pub(super) fn new(
        name: String,
        protein_encoder: EncoderPart,
        nucleotide_encoder: EncoderPart,
        classifiers: Vec<ClassifierPart>,
    ) -> Self {
        let (format, version) = (FORMAT.to_owned(), VERSION);
        Self { format, version, name, protein_encoder, nucleotide_encoder, classifiers }
    }

    /// Parses and checks a manifest; `bundle` names its bundle in errors.
    ///
    /// # Errors
    /// [`ModelError::Bundle`] for another format, a newer version, or two classifiers for one
    /// length.
    pub fn from_json(bundle: &str, json: &[u8]) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::Bundle { bundle: bundle.to_owned(), reason };
        let manifest: Self =
            serde_json::from_slice(json).map_err(|e| refuse(format!("{MANIFEST}: {e}")))?;
        manifest.check().map_err(|reason| refuse(format!("{MANIFEST}: {reason}")))?;
        Ok(manifest)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(format!(
                "format {:?} version {}; this program reads {FORMAT:?} version {VERSION}",
                self.format, self.version
            ));
        }
        let mut seen = BTreeSet::new();
        for length in self.classifiers.iter().flat_map(|c| &c.chunk_lengths) {
            if *length == 0 {
                return Err("a classifier is bound to chunk length 0".into());
            }
            if !seen.insert(length) {
                return Err(format!("two classifiers for chunk length {length}"));
            }
        }
        if seen.is_empty() {
            return Err("no classifier is bound to a chunk length".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(classifiers: &[(&str, &[usize])]) -> Manifest {
        let encoder = |path: &str| EncoderPart { path: path.into(), files: BTreeMap::new() };
        let classifiers = classifiers
            .iter()
            .map(|(path, lengths)| ClassifierPart {
                path: (*path).into(),
                sha256: String::new(),
                chunk_lengths: lengths.to_vec(),
            })
            .collect();
        Manifest::new("m".into(), encoder("a"), encoder("b"), classifiers)
    }

    #[test]
    fn manifest_ambiguous_or_foreign_is_refused() {
        let refused = |m: &Manifest| {
            let json = serde_json::to_vec(m).unwrap();
            Manifest::from_json("dir", &json).unwrap_err().to_string()
        };
        let good = manifest(&[("x", &[300]), ("y", &[500])]);
        assert!(Manifest::from_json("dir", &serde_json::to_vec(&good).unwrap()).is_ok());
        let twice = manifest(&[("x", &[300, 500]), ("y", &[500])]);
        assert_eq!(refused(&twice), "dir: bundle.json: two classifiers for chunk length 500");
        assert!(refused(&manifest(&[])).contains("no classifier"));
        assert!(refused(&manifest(&[("x", &[0])])).contains("length 0"));
        assert!(refused(&Manifest { version: 2, ..good }).contains("version 2"));
        assert!(Manifest::from_json("dir", b"{\"format\": 3}").is_err());
    }
}
