//! Writing a bundle folder as one file.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use virnucpro_weights::Bytes;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{MANIFEST, Manifest};

/// Alignment of the files in the archive, so that a mapped tensor starts on a cache line.
const ALIGNMENT_BYTES: u16 = 64;

/// Writes the files that `manifest` lists, and itself, from `folder` into the archive `path`.
///
/// Nothing is compressed, so that the files can be mapped in place; entries carry no time, so that
/// equal models give equal archives.
pub(super) fn write_archive(folder: &Path, manifest: &Manifest, path: &Path) -> io::Result<()> {
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Stored)
        .large_file(true)
        .with_alignment(ALIGNMENT_BYTES);
    let mut zip = ZipWriter::new(BufWriter::new(File::create(path)?));
    let listed = manifest.files().map(|(path, _)| path);
    for name in std::iter::once(MANIFEST.to_owned()).chain(listed) {
        zip.start_file(name.as_str(), options)?;
        zip.write_all(&Bytes::map(&folder.join(name))?)?;
    }
    let mut file = zip.finish()?;
    file.flush()?;
    file.get_ref().sync_all()
}
