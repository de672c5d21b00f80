//! Owns how a sorted run lies in the temporary file. Must not sort or merge.
//!
//! A run is a stretch of blocks, all but the last of the same size, each after a checksum of
//! its bytes and its place. Through the blocks runs a stream of entries: length of the key
//! (LEB128), key, payload.
//!
//! Entry types: [`RunWriter`] and [`RunReader`].

use super::Payload;
use std::{
    cmp::Ordering,
    fs::File,
    hash::{DefaultHasher, Hasher},
    io::{self, Read, Seek, SeekFrom, Write},
};

const CHECKSUM_BYTES: usize = size_of::<u64>();

/// Where a run lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    start: u64,
    end: u64,
}

impl Run {
    /// Offset of the first byte after it.
    pub(super) fn end(&self) -> u64 {
        self.end
    }
}

/// Writes one run at a given offset.
pub(super) struct RunWriter<'f> {
    file: &'f File,
    start: u64,
    position: u64,
    /// Room for the checksum, then the bytes.
    block: Vec<u8>,
    block_bytes: usize,
    scratch: Vec<u8>,
}

impl<'f> RunWriter<'f> {
    pub(super) fn new(file: &'f File, start: u64, block_bytes: usize) -> Self {
        let mut block = Vec::with_capacity(CHECKSUM_BYTES + block_bytes);
        block.resize(CHECKSUM_BYTES, 0);
        Self { file, start, position: start, block, block_bytes, scratch: Vec::new() }
    }

    /// Adds an entry; keys come in ascending order.
    pub(super) fn push<P: Payload>(&mut self, key: &[u8], payload: P) -> io::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        encode_length(key.len() as u64, &mut scratch);
        self.append(&scratch)?;
        self.append(key)?;
        scratch.clear();
        payload.encode(&mut scratch);
        debug_assert_eq!(scratch.len(), P::BYTES);
        self.append(&scratch)?;
        self.scratch = scratch;
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<Run> {
        self.write_block()?;
        Ok(Run { start: self.start, end: self.position })
    }

    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = CHECKSUM_BYTES + self.block_bytes - self.block.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.block.extend_from_slice(now);
            bytes = later;
            if now.len() == room {
                self.write_block()?;
            }
        }
        Ok(())
    }

    fn write_block(&mut self) -> io::Result<()> {
        let (sum, bytes) = self.block.split_at_mut(CHECKSUM_BYTES);
        if bytes.is_empty() {
            return Ok(());
        }
        sum.copy_from_slice(&checksum(self.position, bytes));
        // Readers of a merge move the same file's position.
        self.file.seek(SeekFrom::Start(self.position))?;
        self.file.write_all(&self.block)?;
        self.position += self.block.len() as u64;
        self.block.truncate(CHECKSUM_BYTES);
        Ok(())
    }
}

/// Reads one run; ordered so that the reader with the smallest key is the greatest, as a
/// [`BinaryHeap`](std::collections::BinaryHeap) wants it.
pub(super) struct RunReader<'f, P> {
    file: &'f File,
    position: u64,
    end: u64,
    block: Vec<u8>,
    /// First byte of `block` that was not taken.
    next: usize,
    block_bytes: usize,
    key: Vec<u8>,
    payload: Option<P>,
    scratch: Vec<u8>,
}

impl<'f, P: Payload> RunReader<'f, P> {
    pub(super) fn new(file: &'f File, run: &Run, block_bytes: usize) -> Self {
        let (position, end) = (run.start, run.end);
        let (block, key, scratch) = (Vec::new(), Vec::new(), Vec::new());
        Self { file, position, end, block, next: 0, block_bytes, key, payload: None, scratch }
    }

    /// Key of the entry [`advance`](Self::advance) went to.
    pub(super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The key, to be taken away; what is left in its place is overwritten.
    pub(super) fn key_mut(&mut self) -> &mut Vec<u8> {
        &mut self.key
    }

    /// Payload of the entry.
    pub(super) fn payload(&self) -> io::Result<P> {
        self.payload.ok_or_else(damaged)
    }

    /// Goes to the next entry; `false` at the end of the run.
    pub(super) fn advance(&mut self) -> io::Result<bool> {
        if self.next == self.block.len() && self.position == self.end {
            return Ok(false);
        }
        let key_bytes = self.take_length()?;
        let left = self.end - self.position + (self.block.len() - self.next) as u64;
        // Decides an allocation, so it must fit into what is there.
        let key_bytes = usize::try_from(key_bytes).ok().filter(|&bytes| bytes as u64 <= left);
        let mut key = std::mem::take(&mut self.key);
        self.take(key_bytes.ok_or_else(damaged)?, &mut key)?;
        self.key = key;
        let mut payload = std::mem::take(&mut self.scratch);
        self.take(P::BYTES, &mut payload)?;
        self.payload = P::decode(&payload);
        self.scratch = payload;
        Ok(true)
    }

    fn take_length(&mut self) -> io::Result<u64> {
        let mut length = 0;
        for shift in (0..u64::BITS).step_by(7) {
            if self.next == self.block.len() {
                self.read_block()?;
            }
            let byte = self.block[self.next];
            self.next += 1;
            length |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(damaged())
    }

    /// Replaces `bytes` by the next `count` bytes of the run.
    fn take(&mut self, mut count: usize, bytes: &mut Vec<u8>) -> io::Result<()> {
        bytes.clear();
        while count > 0 {
            if self.next == self.block.len() {
                self.read_block()?;
            }
            let now = count.min(self.block.len() - self.next);
            bytes.extend_from_slice(&self.block[self.next..self.next + now]);
            self.next += now;
            count -= now;
        }
        Ok(())
    }

    /// Reads and checks the next block, which has at least one byte.
    fn read_block(&mut self) -> io::Result<()> {
        let left = self.end - self.position;
        let longest = CHECKSUM_BYTES + self.block_bytes;
        let bytes = usize::try_from(left).map_or(longest, |left| left.min(longest));
        if bytes <= CHECKSUM_BYTES {
            return Err(damaged());
        }
        self.block.resize(bytes, 0);
        self.file.seek(SeekFrom::Start(self.position))?;
        self.file.read_exact(&mut self.block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged(),
            _ => error,
        })?;
        let (sum, bytes) = self.block.split_at(CHECKSUM_BYTES);
        if sum != checksum(self.position, bytes) {
            return Err(damaged());
        }
        self.position += self.block.len() as u64;
        self.next = CHECKSUM_BYTES;
        Ok(())
    }
}

impl<P> Ord for RunReader<'_, P> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<P> PartialOrd for RunReader<'_, P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for RunReader<'_, P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for RunReader<'_, P> {}

/// Of a block, with its place: a block that was swapped for another is damage too. The
/// process that writes the file is the only one to read it, so the hash may differ between
/// builds.
fn checksum(position: u64, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(position);
    hasher.write(bytes);
    hasher.finish().to_le_bytes()
}

fn encode_length(mut length: u64, bytes: &mut Vec<u8>) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it changed after it was written")
}
