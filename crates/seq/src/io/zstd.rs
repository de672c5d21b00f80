//! Zstandard with any number of frames, skippable ones included, and verified checksums.
//!
//! Owns the loop over frames that `ruzstd` leaves to its caller. Entry type: [`ZstdReader`].

use std::io::{self, BufRead, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Decoded bytes to gather before they are handed on.
const BATCH_BYTES: usize = 128 * 1024;

pub(crate) struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    pub(crate) fn new(source: R) -> Self {
        Self { source, decoder: FrameDecoder::new(), in_frame: false }
    }

    pub(crate) fn get_mut(&mut self) -> &mut R {
        &mut self.source
    }

    /// Goes to the next frame with content; `false` at the end of the input.
    fn start_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => {
                    self.in_frame = true;
                    return Ok(true);
                }
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => self.skip(u64::from(length))?,
                Err(error) => return Err(invalid(error)),
            }
        }
        Ok(false)
    }

    fn skip(&mut self, length_bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut (&mut self.source).take(length_bytes), &mut io::sink())?;
        if skipped == length_bytes { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let stored = self.decoder.get_checksum_from_data();
        if stored.is_some() && stored != self.decoder.get_calculated_checksum() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "frame checksum is wrong"));
        }
        Ok(())
    }
}

fn invalid(error: FrameDecoderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        if target.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame && !self.start_frame()? {
                return Ok(0);
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let batch = BlockDecodingStrategy::UptoBytes(BATCH_BYTES);
                self.decoder.decode_blocks(&mut self.source, batch).map_err(invalid)?;
            }
            let count = self.decoder.read(target)?;
            if count > 0 {
                return Ok(count);
            }
            self.end_frame()?;
        }
    }
}
