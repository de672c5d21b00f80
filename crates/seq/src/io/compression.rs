//! Telling compressions apart by their first bytes, and one reader for all of them.
//!
//! Owns the choice of decoder; every decoder reads all members, frames or streams. Entry type:
//! [`Decoder`].

use std::fmt;
use std::io::{self, BufRead, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::raw::RawReader;
use super::zstd::ZstdReader;

/// A dictionary of xz may not need more than this (`xz -9` needs 64 MiB).
const XZ_MEMORY_LIMIT_KIB: u32 = 1 << 20;

/// How an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    Plain,
    /// gzip, any number of members; bgzf is gzip.
    Gzip,
    /// Zstandard, any number of frames.
    Zstd,
    /// xz, any number of streams.
    Xz,
}

impl Compression {
    /// The lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
        }
    }

    /// Decides by magic bytes; `Err` names a container that cannot be read.
    pub(crate) fn sniff(head: &[u8]) -> Result<Self, &'static str> {
        match head {
            [0x1f, 0x8b, ..] => Ok(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Ok(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Ok(Self::Xz),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Err("bzip2"),
            [b'P', b'K', 3, 4, ..] => Err("a zip archive"),
            [b'C', b'R', b'A', b'M', ..] => Err("CRAM"),
            _ => Ok(Self::Plain),
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The decompressed bytes of an input.
pub(crate) enum Decoder {
    Plain(RawReader),
    Gzip(Box<MultiGzDecoder<RawReader>>),
    Zstd(Box<ZstdReader<RawReader>>),
    Xz(Box<XzReader<RawReader>>),
}

impl Decoder {
    pub(crate) fn new(raw: RawReader, compression: Compression) -> Self {
        match compression {
            Compression::Plain => Self::Plain(raw),
            Compression::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(raw))),
            Compression::Zstd => Self::Zstd(Box::new(ZstdReader::new(raw))),
            Compression::Xz => {
                Self::Xz(Box::new(XzReader::new_mem_limit(raw, true, XZ_MEMORY_LIMIT_KIB)))
            }
        }
    }

    /// To be called at the end: nothing may follow the last stream.
    pub(crate) fn check_end(&mut self) -> io::Result<()> {
        let raw = match self {
            Self::Plain(raw) => raw,
            Self::Gzip(decoder) => decoder.get_mut(),
            Self::Zstd(decoder) => decoder.get_mut(),
            Self::Xz(decoder) => decoder.inner_mut(),
        };
        if raw.fill_buf()?.is_empty() {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "other data behind the last stream"))
    }
}

impl Read for Decoder {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(raw) => raw.read(target),
            Self::Gzip(decoder) => decoder.read(target),
            Self::Zstd(decoder) => decoder.read(target),
            Self::Xz(decoder) => decoder.read(target),
        }
    }
}
