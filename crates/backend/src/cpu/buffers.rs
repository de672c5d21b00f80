//! Buffers of dropped activations, kept for the next batch.
//!
//! A fresh buffer of some megabytes is mapped page by page when it is first written, and that
//! costs small models a twentieth of their time.

use std::sync::{Mutex, PoisonError};

/// Buffers kept for each thread at most: those of one forward.
const BUFFERS_PER_THREAD: usize = 8;

/// Largest buffer worth keeping; the work on a larger one outweighs mapping it.
const MAX_BUFFER_BYTES: usize = 64 << 20;

/// Bytes kept at most, however many threads there are.
const MAX_BYTES: usize = 8 * MAX_BUFFER_BYTES;

/// Buffers that nobody uses at present.
#[derive(Debug)]
pub(super) struct Buffers {
    idle: Mutex<Vec<Vec<f32>>>,
    max_buffers: usize,
}

fn bytes(buffer: &Vec<f32>) -> usize {
    buffer.capacity() * size_of::<f32>()
}

impl Buffers {
    /// Keeps what `threads` forwards at a time need.
    pub(super) fn new(threads: usize) -> Self {
        Self { idle: Mutex::default(), max_buffers: BUFFERS_PER_THREAD * threads.max(1) }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Vec<f32>>> {
        // A poisoned lock means that another thread panicked while it held whole buffers; what
        // they contain is unspecified anyway.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `len` values with unspecified contents.
    pub(super) fn take(&self, len: usize) -> Vec<f32> {
        let mut idle = self.idle();
        let fits = |buffer: &Vec<f32>| buffer.capacity() >= len && buffer.capacity() / 4 <= len;
        let best = (0..idle.len()).filter(|&i| fits(&idle[i])).min_by_key(|&i| idle[i].capacity());
        let Some(best) = best else {
            drop(idle);
            return vec![0.0; len];
        };
        let mut buffer = idle.swap_remove(best);
        drop(idle);
        buffer.resize(len, 0.0);
        buffer
    }

    /// Keeps `buffer` for [`Buffers::take`]; the oldest make room for it.
    pub(super) fn give_back(&self, buffer: Vec<f32>) {
        if bytes(&buffer) > MAX_BUFFER_BYTES || buffer.capacity() == 0 {
            return;
        }
        let mut idle = self.idle();
        idle.push(buffer);
        while idle.len() > self.max_buffers || idle.iter().map(bytes).sum::<usize>() > MAX_BYTES {
            idle.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_idle_buffer_that_fits_is_reused_and_has_the_length() {
        let buffers = Buffers::new(2);
        buffers.give_back(vec![7.0; 100]);
        buffers.give_back(vec![8.0; 1000]);
        assert_eq!(buffers.take(10), [0.0; 10], "ten times too large is left alone");
        let reused = buffers.take(90);
        assert_eq!((reused.len(), reused[0]), (90, 7.0));
        buffers.give_back(reused);
        let longer = buffers.take(100);
        assert_eq!((longer.len(), longer[0], longer[99]), (100, 7.0, 0.0));
        assert_eq!(buffers.take(100), [0.0; 100], "a buffer in use is not handed out again");
    }

    #[test]
    fn give_back_keeps_few_and_no_giants() {
        let buffers = Buffers::new(2);
        buffers.give_back(Vec::new());
        buffers.give_back(Vec::with_capacity(MAX_BUFFER_BYTES / 4 + 1));
        assert!(buffers.idle().is_empty());
        for _ in 0..4 * BUFFERS_PER_THREAD {
            buffers.give_back(vec![0.0; 4]);
        }
        assert_eq!(buffers.idle().len(), 2 * BUFFERS_PER_THREAD);
        for _ in 0..10 {
            buffers.give_back(Vec::with_capacity(MAX_BUFFER_BYTES / 4));
        }
        let kept: usize = buffers.idle().iter().map(bytes).sum();
        assert!((MAX_BYTES - MAX_BUFFER_BYTES..=MAX_BYTES).contains(&kept));
    }
}
