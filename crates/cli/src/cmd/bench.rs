//! `virnucpro bench`.

use virnucpro_pipeline::{BenchConfig, CancelToken, Monitor, bench};

use crate::args::BenchArgs;

pub(crate) fn run(args: &BenchArgs, cancel: &CancelToken) -> anyhow::Result<()> {
    let device = super::open_device(&args.device)?;
    if !args.json {
        eprintln!("device: {}, {}", device.name(), device.reason());
    }
    let config = BenchConfig {
        model: args.model,
        lengths: args.lengths.clone(),
        tokens: args.tokens,
        passes: args.passes,
        token_budget: args.token_budget,
    };
    let monitor =
        || Ok(Monitor::start(super::monitor_config(&device, &args.metrics, &args.trace))?);
    let report = bench(&config, &device, cancel, monitor)?;
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", report.describe());
    }
    Ok(())
}
