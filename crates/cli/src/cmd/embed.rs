//! `virnucpro embed`.

use virnucpro_pipeline::{CancelToken, EmbedConfig, embed};

use crate::args::EmbedArgs;
use crate::console::{self, ProgressView, count};

pub(crate) fn run(args: &EmbedArgs, cancel: &CancelToken) -> anyhow::Result<()> {
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
    let monitor = super::start_monitor(&args.stream)?;
    let mut view = ProgressView::new(args.quiet);
    let result = embed(&config, &device, &monitor, cancel, &mut |progress| view.update(progress));
    view.finish();
    let report = result?;
    if !args.quiet {
        console::warnings(&report.warnings);
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
