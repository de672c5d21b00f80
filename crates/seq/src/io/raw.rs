//! The bytes of an input as they are stored, hashed and counted on their way.
//!
//! Owns SHA-256 and the byte offset; it knows no format. Entry type: [`RawReader`].

use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

const BUFFER_BYTES: usize = 128 * 1024;

/// What is known about an input's raw bytes while a decoder owns the reader.
#[derive(Debug, Default)]
pub(crate) struct RawProgress {
    taken_bytes: AtomicU64,
    failed: AtomicBool,
    hash: Mutex<(Sha256, u64)>,
}

impl RawProgress {
    /// Bytes that the decoder has taken.
    pub(crate) fn taken_bytes(&self) -> u64 {
        self.taken_bytes.load(Ordering::Relaxed)
    }

    /// Whether the system, not the decoder, failed.
    pub(crate) fn failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// SHA-256 in lower-case hex and number of all bytes read so far.
    pub(crate) fn digest(&self) -> (String, u64) {
        let hash = self.hash.lock().unwrap_or_else(PoisonError::into_inner);
        let hex = hash.0.clone().finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (hex, hash.1)
    }
}

/// A buffered reader over stored bytes that feeds [`RawProgress`].
pub(crate) struct RawReader {
    inner: Box<dyn Read + Send>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    progress: Arc<RawProgress>,
}

impl RawReader {
    pub(crate) fn new(inner: Box<dyn Read + Send>) -> (Self, Arc<RawProgress>) {
        let progress = Arc::<RawProgress>::default();
        let buffer = vec![0; BUFFER_BYTES].into_boxed_slice();
        (Self { inner, buffer, start: 0, end: 0, progress: progress.clone() }, progress)
    }

    /// At least `wanted` bytes of look-ahead, fewer only at the end of the input.
    pub(crate) fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        while self.end - self.start < wanted {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.read_more()? == 0 {
                break;
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn read_more(&mut self) -> io::Result<usize> {
        loop {
            match self.inner.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    let new = &self.buffer[self.end..self.end + count];
                    let mut hash =
                        self.progress.hash.lock().unwrap_or_else(PoisonError::into_inner);
                    hash.0.update(new);
                    hash.1 += count as u64;
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.progress.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }
}

impl BufRead for RawReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.read_more()?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.progress.taken_bytes.fetch_add(count as u64, Ordering::Relaxed);
    }
}

impl Read for RawReader {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(target.len());
        target[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_reader_hashes_all_bytes_and_counts_taken_ones() {
        let (mut reader, progress) = RawReader::new(Box::new(&b"abc"[..]));
        assert_eq!(reader.peek(6).unwrap(), b"abc");
        assert_eq!(progress.taken_bytes(), 0);
        let mut two = [0; 2];
        reader.read_exact(&mut two).unwrap();
        assert_eq!((progress.taken_bytes(), &two), (2, b"ab"));
        let (hex, bytes) = progress.digest();
        assert_eq!(bytes, 3);
        assert_eq!(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
