//! Reading, hashing and decompressing on a thread of its own, behind a bounded queue of blocks.
//!
//! Owns the thread and its end: it stops when the receiver is dropped, and [`Blocks`] joins it.
//! It knows lines but no records. Entry type: [`Blocks`].

use std::io::{self, Read};
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::compression::{Compression, Decoder};
use super::line_ends::LineEnds;
use super::raw::{RawProgress, RawReader};
use crate::error::SeqError;
use crate::supervision::{SeqActivity, SeqStage, Supervision};
use crate::threads::spawn_named;

const BLOCK_BYTES: usize = 256 * 1024;
const BLOCKS_AHEAD: usize = 4;

/// An opened input whose compression is known.
pub(crate) struct Source {
    path: PathBuf,
    decoder: Decoder,
    compression: Compression,
    progress: Arc<RawProgress>,
}

impl Source {
    /// Looks at the first bytes of `raw` to choose a decoder.
    pub(crate) fn new(path: PathBuf, raw: Box<dyn Read + Send>) -> Result<Self, SeqError> {
        let (mut reader, progress) = RawReader::new(raw);
        let head = match reader.peek(6) {
            Ok(head) => head,
            Err(source) => {
                return Err(SeqError::Read { path, byte_offset: 0, whole_records: 0, source });
            }
        };
        match Compression::sniff(head) {
            Ok(compression) => {
                let decoder = Decoder::new(reader, compression);
                Ok(Self { path, decoder, compression, progress })
            }
            Err(what) => Err(SeqError::UnsupportedContainer { path, what }),
        }
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Fills `block` up to its usual size; what was read before an error stays in it.
    fn fill(&mut self, block: &mut Vec<u8>) -> io::Result<()> {
        block.resize(BLOCK_BYTES, 0);
        let mut filled = 0;
        let outcome = loop {
            if filled == block.len() {
                break Ok(());
            }
            match self.decoder.read(&mut block[filled..]) {
                Ok(0) => break self.decoder.check_end(),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        block.truncate(filled);
        outcome
    }

    fn failure(&self, source: io::Error) -> SeqError {
        let path = self.path.clone();
        let byte_offset = self.progress.taken_bytes();
        if self.compression == Compression::Plain || self.progress.failed() {
            return SeqError::Read { path, byte_offset, whole_records: 0, source };
        }
        let compression = self.compression;
        SeqError::Decompress { path, compression, byte_offset, whole_records: 0, source }
    }

    /// Sends everything, in order; an error or the digest comes last.
    fn pump(
        mut self,
        blocks: &Sender<Message>,
        spare: &Receiver<Vec<u8>>,
        supervision: &Supervision,
    ) {
        let mut line_ends = LineEnds::default();
        loop {
            let mut block = spare.try_recv().unwrap_or_default();
            let (outcome, at_end) = supervision.during(SeqStage::Read, SeqActivity::Busy, || {
                let outcome = self.fill(&mut block);
                let at_end = block.len() < BLOCK_BYTES;
                line_ends.unify(&mut block);
                (outcome, at_end)
            });
            let send = || blocks.send(Message::Text(block)).is_err();
            if supervision.during(SeqStage::Read, SeqActivity::WaitOut, send) {
                return;
            }
            let last = match outcome {
                Err(error) => Message::Failed(self.failure(error)),
                Ok(()) if at_end => Message::End(self.progress.digest()),
                Ok(()) => continue,
            };
            // Nobody waits for it any more if this fails.
            let _ = blocks.send(last);
            return;
        }
    }
}

enum Message {
    Text(Vec<u8>),
    Failed(SeqError),
    End((String, u64)),
}

/// Blocks of decompressed text with unified line ends, in order.
pub(crate) struct Blocks {
    path: PathBuf,
    messages: Option<Receiver<Message>>,
    spare: Sender<Vec<u8>>,
    thread: Option<JoinHandle<()>>,
    digest: Option<(String, u64)>,
    supervision: Supervision,
}

impl Blocks {
    /// Starts reading.
    pub(crate) fn start(source: Source, supervision: &Supervision) -> Result<Self, SeqError> {
        let path = source.path.clone();
        let (block_sender, messages) = bounded(BLOCKS_AHEAD);
        let (spare, spare_receiver) = bounded(BLOCKS_AHEAD);
        let what = path.display().to_string();
        let watched = supervision.clone();
        let thread = spawn_named("read".into(), move || {
            let pump = || source.pump(&block_sender, &spare_receiver, &watched);
            if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(pump)) {
                let failure = SeqError::panicked(what, payload.as_ref());
                let _ = block_sender.send(Message::Failed(failure));
            }
        })?;
        let (messages, thread, supervision) = (Some(messages), Some(thread), supervision.clone());
        Ok(Self { path, messages, spare, thread, digest: None, supervision })
    }

    pub(crate) fn path(&self) -> &PathBuf {
        &self.path
    }

    /// Replaces `block` by the next one; `false` at the end.
    pub(crate) fn next_into(&mut self, block: &mut Vec<u8>) -> Result<bool, SeqError> {
        let Some(messages) = &self.messages else {
            return Ok(false);
        };
        let message = messages.try_recv().or_else(|_| {
            let wait = || messages.recv();
            self.supervision.during(SeqStage::Parse, SeqActivity::Interrupted, wait)
        });
        match message {
            Ok(Message::Text(text)) => {
                // A full queue of spare blocks only means one more allocation later.
                let _ = self.spare.try_send(mem::replace(block, text));
                Ok(true)
            }
            Ok(Message::End(digest)) => {
                self.digest = Some(digest);
                self.messages = None;
                Ok(false)
            }
            Ok(Message::Failed(error)) => {
                self.messages = None;
                Err(error)
            }
            Err(_) => {
                self.messages = None;
                let what = self.path.display().to_string();
                Err(SeqError::Panicked { what, message: "the reading thread is gone".into() })
            }
        }
    }

    /// SHA-256 (hex) and number of the stored bytes, once all were read.
    pub(crate) fn digest(&self) -> Option<&(String, u64)> {
        self.digest.as_ref()
    }
}

impl Drop for Blocks {
    /// Ends the thread; waits for a read that is in progress.
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            // Its panics were caught and reported above.
            let _ = thread.join();
        }
    }
}
