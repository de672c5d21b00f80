//! Owns sorting more than fits into memory. Must not know what keys and payloads stand for.
//!
//! Entries gather in a buffer of bounded size. A full buffer is sorted, entries of the same
//! key become one, and the rest goes as one run to a nameless file in the output's folder,
//! which the system removes however the process ends. At the end the runs are merged.
//! What fits into the buffer never touches the disk.
//!
//! Entry type: [`SpillSort`].

mod buffer;
mod merge;
mod payload;
mod run;

#[cfg(test)]
mod tests;

use crate::{Error, Result, atomic::parent_dir};
use buffer::EntryBuffer;
use merge::Merge;
pub(crate) use payload::Payload;
use run::{Run, RunReader, RunWriter};
use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// How much memory and how many runs at once a sort may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries held in memory before they are spilled, with what the sort needs around them.
    pub(crate) buffer_bytes: usize,
    /// What is read or written of one run at a time.
    pub(crate) block_bytes: usize,
    /// Runs merged at once, at least two; each takes one block and one key.
    pub(crate) fan_in: usize,
}

impl Limits {
    /// 16 MiB hold about 200,000 chunks (100 Mbp in chunks of 500), so most inputs stay in
    /// memory, and are small beside any model. 64 blocks of 64 KiB take a quarter of that in
    /// its place, and 64 full buffers, a GiB of entries, are merged in one pass.
    pub(crate) const DEFAULT: Self =
        Self { buffer_bytes: 16 << 20, block_bytes: 64 << 10, fan_in: 64 };
}

/// Sorts entries of a key and a payload by the bytes of the key; each key comes out once.
///
/// Memory stays below one and a half buffers, or `fan_in` blocks and keys, whatever is
/// larger, and the longest key.
#[derive(Debug)]
pub(crate) struct SpillSort<P> {
    output: PathBuf,
    limits: Limits,
    buffer: EntryBuffer<P>,
    /// Made with the first run.
    file: Option<File>,
    file_bytes: u64,
    runs: VecDeque<Run>,
}

impl<P: Payload> SpillSort<P> {
    /// An empty sort of what belongs to the file `output`: its folder takes the temporary
    /// file, and errors name it.
    pub(crate) fn new(output: &Path, limits: Limits) -> Self {
        Self {
            output: output.to_owned(),
            limits,
            buffer: EntryBuffer::new(),
            file: None,
            file_bytes: 0,
            runs: VecDeque::new(),
        }
    }

    /// Takes in one entry.
    ///
    /// # Errors
    /// [`Error::Spill`] where the buffer was full and could not be written.
    pub(crate) fn push(&mut self, key: &[u8], payload: P) -> Result<()> {
        if self.buffer.merge_into_last(key, payload) {
            return Ok(());
        }
        if self.buffer.bytes_with(key) > self.limits.buffer_bytes && !self.buffer.is_empty() {
            self.buffer.sort();
            // Repeated keys alone may have filled it. A buffer that stays over half full is
            // spilled: sorting it again soon would gain little.
            if self.buffer.sorted_bytes() <= self.limits.buffer_bytes / 2 {
                self.buffer.compact();
            } else {
                self.spill().map_err(|source| self.named(source))?;
            }
        }
        self.buffer.push(key, payload);
        Ok(())
    }

    /// Hands every key with its merged payload to `visit`, in ascending order of bytes.
    ///
    /// # Errors
    /// [`Error::Spill`] where the temporary file cannot be written, read, or is damaged;
    /// those of `visit`. Some entries may have been visited then.
    pub(crate) fn finish(mut self, mut visit: impl FnMut(&[u8], P) -> Result<()>) -> Result<()> {
        self.buffer.sort();
        if self.runs.is_empty() {
            return self.buffer.iter().try_for_each(|(key, payload)| visit(key, payload));
        }
        if !self.buffer.is_empty() {
            self.spill().map_err(|source| self.named(source))?;
        }
        // Its memory is what the blocks of the merge take.
        self.buffer = EntryBuffer::new();
        self.merge_surplus().map_err(|source| self.named(source))?;
        let mut merge = self.merge(self.runs.iter()).map_err(|source| self.named(source))?;
        while let Some((key, payload)) = merge.next().map_err(|source| self.named(source))? {
            visit(key, payload)?;
        }
        Ok(())
    }

    /// Writes the sorted buffer as a run and empties it.
    fn spill(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile_in(parent_dir(&self.output))?),
        };
        let mut writer = RunWriter::new(file, self.file_bytes, self.limits.block_bytes);
        for (key, payload) in self.buffer.iter() {
            writer.push(key, payload)?;
        }
        let run = writer.finish()?;
        self.file_bytes = run.end();
        self.runs.push_back(run);
        self.buffer.clear(self.limits.buffer_bytes);
        Ok(())
    }

    /// Merges as few runs as possible until the rest can be merged at once.
    fn merge_surplus(&mut self) -> io::Result<()> {
        let fan_in = self.limits.fan_in;
        while self.runs.len() > fan_in {
            let surplus = (self.runs.len() - fan_in + 1).min(fan_in);
            let mut merge = self.merge(self.runs.range(..surplus))?;
            let mut writer = RunWriter::new(self.file()?, self.file_bytes, self.limits.block_bytes);
            while let Some((key, payload)) = merge.next()? {
                writer.push(key, payload)?;
            }
            let merged = writer.finish()?;
            drop(merge);
            self.file_bytes = merged.end();
            self.runs.drain(..surplus);
            self.runs.push_back(merged);
        }
        Ok(())
    }

    fn merge<'a>(&self, runs: impl Iterator<Item = &'a Run>) -> io::Result<Merge<'_, P>> {
        let file = self.file()?;
        Merge::new(runs.map(|run| RunReader::new(file, run, self.limits.block_bytes)))
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("there are runs but no file"))
    }

    fn named(&self, source: io::Error) -> Error {
        Error::Spill { path: self.output.clone(), source }
    }
}
