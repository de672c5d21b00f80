//! The thread that reads the instruments at a steady pace.

use std::{
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
    time::Duration,
};

use super::{
    MonitorError,
    core::Core,
    devices::{GpuSampler, GpuSelection},
    process::ProcessSampler,
};

/// Name of the thread.
const THREAD_NAME: &str = "monitor";

/// A thread that does one thing again and again until it is stopped.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sampler {
    /// Starts reading `gpus` and the process into `core`, the first time at once.
    pub(crate) fn start(core: Arc<Core>, gpus: GpuSelection) -> Result<Sampler, MonitorError> {
        Self::spawn(core.sample_interval, move || {
            // NVML takes its time to open: here nobody waits for it.
            let devices = GpuSampler::open(&gpus);
            for reason in devices.missing() {
                core.warn(format!("no samples of a GPU: {reason}"));
            }
            let mut process = ProcessSampler::new();
            move || core.sample(devices.sample(), process.sample(core.now()))
        })
    }

    /// Starts a thread that calls what `prepare` gives: at once, then every `interval`, and once
    /// more when it is stopped.
    fn spawn<T: FnMut()>(
        interval: Duration,
        prepare: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Sampler, MonitorError> {
        let (stop, stopped) = mpsc::channel();
        let thread = Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                let mut tick = prepare();
                tick();
                while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                    tick();
                }
                tick();
            })
            .map_err(|source| MonitorError::Thread { source: Arc::new(source) })?;
        Ok(Sampler { stop, thread })
    }

    /// Stops the thread and waits for its end.
    ///
    /// # Errors
    /// When it had panicked.
    pub(crate) fn stop(self) -> Result<(), MonitorError> {
        drop(self.stop);
        self.thread.join().map_err(|_| MonitorError::SamplerPanicked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far longer than any test: only the stop can end the wait.
    const FOREVER: Duration = Duration::from_secs(86_400);

    #[test]
    fn sampler_reads_at_the_start_and_at_the_end_and_is_joined() {
        let (sender, ticks) = mpsc::channel();
        let sampler = Sampler::spawn(FOREVER, move || {
            move || {
                let _ = sender.send(());
            }
        })
        .unwrap();
        ticks.recv().unwrap();
        sampler.stop().unwrap();
        assert_eq!(ticks.try_recv(), Ok(()), "the last reading");
        assert_eq!(
            ticks.try_recv(),
            Err(mpsc::TryRecvError::Disconnected),
            "the thread has ended and dropped what it owned"
        );
    }

    #[test]
    fn sampler_that_panicked_says_so() {
        let sampler = Sampler::spawn(FOREVER, || || panic!("a queue's length was not to be had"));
        assert!(matches!(sampler.unwrap().stop(), Err(MonitorError::SamplerPanicked)));
    }

    #[test]
    fn sampler_repeats_without_being_asked() {
        let (sender, ticks) = mpsc::channel();
        let sampler = Sampler::spawn(Duration::from_millis(1), move || {
            move || {
                let _ = sender.send(());
            }
        })
        .unwrap();
        for _ in 0..5 {
            ticks.recv().unwrap();
        }
        sampler.stop().unwrap();
    }
}
