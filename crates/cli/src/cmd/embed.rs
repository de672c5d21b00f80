//! `virnucpro embed`.

use virnucpro_pipeline::{CancelToken, EmbedConfig, embed};

use crate::args::EmbedArgs;
use crate::console::{self, count};
use crate::terminal::{Log, View};

pub(crate) fn run(args: &EmbedArgs, cancel: &CancelToken, log: &Log) -> anyhow::Result<()> {
    let device = super::open_device(&args.device)?;
    if !args.quiet {
        eprintln!("device: {}, {}", device.name(), device.reason());
    }
    let config = EmbedConfig {
        inputs: super::inputs(&args.inputs),
        model: args.model.clone(),
        output: args.output.clone(),
        pooling: args.pool.into(),
        alphabet: args.alphabet.map(Into::into),
        layer: args.layer,
        token_budget: args.token_budget,
        threads: super::threads(args.device.threads),
        dedup: !args.stream.no_dedup,
    };
    let monitor = super::start_monitor(&args.stream, &device)?;
    let title = format!("virnucpro embed on {}", device.name());
    let detail = args.stream.detail(args.quiet);
    let reads_stdin = super::reads_stdin(&args.inputs);
    let mut view = View::start(detail, &title, reads_stdin, &monitor, log);
    let result = embed(&config, &device, &monitor, cancel, &mut |_| view.update());
    view.finish();
    let report = result?;
    if !args.quiet {
        console::warnings(&report.warnings);
        eprintln!("token budget: {}", report.token_budget);
        eprint!("{}", report.performance.table());
        let efficiency = report.packing_efficiency.unwrap_or_default();
        println!(
            "{}, {} (packing_efficiency {efficiency:.3}), hidden_size {}",
            count(report.sequences, "sequence"),
            count(report.tokens, "token"),
            report.hidden_size
        );
        for file in &report.files {
            println!("wrote {}", file.display());
        }
    }
    Ok(())
}
