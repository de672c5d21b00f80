//! Prints what the monitor reads of the GPUs and of its own process, a line per device and sample.
//!
//! ```text
//! device_samples [SAMPLES] [--bus-id PCI_BUS_ID]...
//! ```

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use virnucpro_runner::monitor::{GpuSampler, GpuSelection, ProcessSampler};

const INTERVAL: Duration = Duration::from_millis(250);

fn main() -> Result<(), String> {
    let mut samples = 8;
    let mut bus_ids = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        if arg == "--bus-id" {
            bus_ids.push(args.next().ok_or("--bus-id needs a PCI bus id")?);
        } else {
            samples = arg.parse().map_err(|_| format!("not a number of samples: {arg}"))?;
        }
    }
    let selection =
        if bus_ids.is_empty() { GpuSelection::All } else { GpuSelection::BusIds(bus_ids) };
    let gpus = GpuSampler::open(&selection);
    for reason in gpus.missing() {
        println!("no samples: {reason}");
    }
    let mut process = ProcessSampler::new();
    let start = Instant::now();
    for sample in 0..samples {
        if sample > 0 {
            sleep(INTERVAL);
        }
        let elapsed = start.elapsed();
        let t_ms = elapsed.as_millis();
        for gpu in gpus.sample() {
            println!("{t_ms:6} ms  {gpu:?}");
        }
        // The first time there is nothing to compare the CPU time with.
        if let Some(process) = process.sample(elapsed) {
            println!("{t_ms:6} ms  {process:?}");
        }
    }
    Ok(())
}
