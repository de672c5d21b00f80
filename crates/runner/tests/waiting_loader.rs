//! A failure comes out although the loader is silent and would be waited for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::mpsc::channel;

use common::{Device, Manners, Model, batch};
use virnucpro_runner::{AsyncInferenceRunner, RunnerConfig};

#[test]
fn device_failure_is_delivered_while_the_loader_waits_for_input() {
    let first = u64::from(batch(1).packed.input_ids()[0]);
    let device = Arc::new(Device::new(Manners { fail: Some((1, first)), ..Manners::default() }));
    let runner =
        AsyncInferenceRunner::new(Arc::new(Model), device, RunnerConfig::default()).unwrap();
    let (feed, input) = channel();
    feed.send(Ok(batch(0))).unwrap();
    feed.send(Ok(batch(1))).unwrap();
    let mut results = runner.run(input).unwrap();
    assert!(results.next().unwrap().is_ok());
    // `feed` is still open: whoever joined the loader here would wait for ever.
    assert!(results.next().unwrap().unwrap_err().to_string().contains("compute failed"));
    drop(feed);
    assert!(results.next().is_none());
}
