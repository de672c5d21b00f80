//! `bundle.json`: what a bundle holds.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// Name of the manifest inside a bundle.
pub const MANIFEST: &str = "bundle.json";

/// Files an encoder may consist of; a protein encoder has no tokenizer file.
pub(super) const ENCODER_FILES: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

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
    /// [`ModelError::Bundle`] for another format, a newer version, a path that leaves the bundle,
    /// something that is no SHA-256, or two classifiers for one length.
    pub fn from_json(bundle: &str, json: &[u8]) -> Result<Self, ModelError> {
        let refuse = |reason: String| ModelError::bundle(bundle, format!("{MANIFEST}: {reason}"));
        let manifest: Self = serde_json::from_slice(json).map_err(|e| refuse(e.to_string()))?;
        manifest.check().map_err(refuse)?;
        Ok(manifest)
    }

    /// Path inside the bundle and SHA-256 of every file but the manifest itself.
    pub fn files(&self) -> impl Iterator<Item = (String, &str)> {
        let encoders = [&self.protein_encoder, &self.nucleotide_encoder];
        let of_encoders = encoders.into_iter().flat_map(EncoderPart::paths);
        let of_classifiers =
            self.classifiers.iter().map(|part| (part.path.clone(), part.sha256.as_str()));
        of_encoders.chain(of_classifiers)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.format != FORMAT || self.version != VERSION {
            return Err(format!(
                "format {:?} version {}; this program reads {FORMAT:?} version {VERSION}",
                self.format, self.version
            ));
        }
        for part in [&self.protein_encoder, &self.nucleotide_encoder] {
            if let Some(name) = part.files.keys().find(|name| !ENCODER_FILES.contains(&&name[..])) {
                return Err(format!("{name:?} is no file of an encoder"));
            }
        }
        for (path, sha256) in self.files() {
            if !is_inside(&path) {
                return Err(format!("{path:?} is not a path inside the bundle"));
            }
            let is_digit = |c: u8| matches!(c, b'0'..=b'9' | b'a'..=b'f');
            if sha256.len() != 64 || !sha256.bytes().all(is_digit) {
                return Err(format!("{sha256:?} of {path} is not a SHA-256"));
            }
        }
        check_chunk_lengths(self.classifiers.iter().map(|part| &part.chunk_lengths[..]))
    }
}

impl EncoderPart {
    /// Path inside the bundle and SHA-256 of each file.
    pub fn paths(&self) -> impl Iterator<Item = (String, &str)> {
        self.files.iter().map(|(name, sha256)| (format!("{}/{name}", self.path), sha256.as_str()))
    }
}

/// Whether a path stays inside the folder it is looked up in, on every system, and can be printed.
fn is_inside(path: &str) -> bool {
    !path.contains(['\\', ':'])
        && !path.contains(char::is_control)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Checks that every classifier has a chunk length, and no two have the same.
pub(super) fn check_chunk_lengths<'a>(
    classifiers: impl Iterator<Item = &'a [usize]>,
) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for lengths in classifiers {
        if lengths.is_empty() {
            return Err("a classifier is bound to no chunk length".into());
        }
        for &length in lengths {
            if length == 0 {
                return Err("a classifier is bound to chunk length 0".into());
            }
            if !seen.insert(length) {
                return Err(format!("two classifiers for chunk length {length}"));
            }
        }
    }
    if seen.is_empty() {
        return Err("there is no classifier".into());
    }
    Ok(())
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
                sha256: "0f".repeat(32),
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
        assert!(refused(&manifest(&[("x", &[])])).contains("no chunk length"));
        assert!(refused(&manifest(&[("x", &[0])])).contains("length 0"));
        assert!(refused(&Manifest { version: 2, ..good }).contains("version 2"));
        assert!(Manifest::from_json("dir", b"{\"format\": 3}").is_err());
        // Foreign text stays on one line.
        let error = Manifest::from_json("dir", b"{\"a\\nb\": 3}").unwrap_err().to_string();
        assert!(error.contains("unknown field `a\\nb`") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn manifest_path_outside_the_bundle_or_bad_hash_is_refused() {
        let refused = |change: &dyn Fn(&mut Manifest)| {
            let mut changed = manifest(&[("x", &[300])]);
            change(&mut changed);
            let json = serde_json::to_vec(&changed).unwrap();
            Manifest::from_json("dir", &json).unwrap_err().to_string()
        };
        let hash = "00".repeat(32);
        for path in
            ["../../etc/passwd", "/etc/passwd", "..", "", "a//b", "./a", "C:\\x", "a\\b", "a\nb"]
        {
            let error = refused(&|m| m.classifiers[0].path = path.into());
            assert!(error.contains("not a path inside the bundle"), "{path}: {error}");
            let error = refused(&|m| {
                m.protein_encoder.path = path.into();
                m.protein_encoder.files.insert("config.json".into(), hash.clone());
            });
            assert!(error.contains("not a path inside the bundle"), "{path}: {error}");
        }
        let error = refused(&|m| {
            m.protein_encoder.files.insert("../x".into(), hash.clone());
        });
        assert!(error.contains("\"../x\" is no file of an encoder"), "{error}");
        let error = refused(&|m| m.classifiers[0].sha256 = "0F".repeat(32));
        assert!(error.contains("not a SHA-256"), "{error}");
    }
}
