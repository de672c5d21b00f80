//! Reads from pipes, sockets and terminals that can be stopped while nothing comes.
//!
//! Owns the wait; a regular file never waits and needs none of this. Entry type: [`Interruptible`].

use std::fs::File;
use std::io::{self, Read};

use crate::supervision::{Supervision, stopped};

/// How often a waiting read looks whether it was stopped, in milliseconds.
#[cfg(unix)]
const LOOK_MS: i64 = 50;

/// A file whose reads end when they are stopped.
pub(crate) struct Interruptible {
    pub(crate) file: File,
    pub(crate) supervision: Supervision,
}

impl Interruptible {
    /// Waits until there is something to read, or the end.
    #[cfg(unix)]
    fn wait(&self) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let timeout = Timespec { tv_sec: 0, tv_nsec: LOOK_MS * 1_000_000 };
        while !self.supervision.is_stopped() {
            match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&timeout)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(stopped())
    }

    #[cfg(not(unix))]
    fn wait(&self) -> io::Result<()> {
        if self.supervision.is_stopped() { Err(stopped()) } else { Ok(()) }
    }
}

impl Read for Interruptible {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait()?;
        self.file.read(buffer)
    }
}
