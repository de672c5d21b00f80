//! `virnucpro predict`.

use std::io::{self, Write};

use virnucpro_pipeline::{CancelToken, PredictConfig, PredictReport, predict};

use crate::args::PredictArgs;
use crate::console::{self, count};
use crate::terminal::{Log, View};

pub(crate) fn run(args: &PredictArgs, cancel: &CancelToken, log: &Log) -> anyhow::Result<()> {
    let device = super::open_device(&args.device)?;
    let is_silent = args.quiet || args.json;
    if !is_silent {
        eprintln!("device: {}, {}", device.name(), device.reason());
    }
    let config = PredictConfig {
        inputs: super::inputs(&args.inputs),
        output_dir: args.output.clone(),
        model: args.model.clone(),
        chunk_length: args.chunk_length,
        threads: super::threads(args.device.threads),
        min_length_nt: args.min_length,
        token_budget: args.token_budget,
        dedup: !args.stream.no_dedup,
    };
    let monitor = super::start_monitor(&args.stream, &device)?;
    let title = format!("virnucpro predict on {}", device.name());
    let detail = args.stream.detail(is_silent);
    let reads_stdin = super::reads_stdin(&args.inputs);
    let mut view = View::start(detail, &title, reads_stdin, &monitor, log);
    let result = predict(&config, &device, &monitor, cancel, &mut |_| view.update());
    view.finish();
    let report = result?;
    if !args.quiet {
        console::warnings(&report.summary.warnings);
    }
    if !is_silent {
        eprintln!("token budget: {}", report.token_budget);
        eprint!("{}", report.performance.table());
    }
    let mut out = io::stdout().lock();
    if args.json {
        report.summary.write(&mut out)?;
    } else if !args.quiet {
        out.write_all(describe(&report).as_bytes())?;
    }
    Ok(())
}

fn describe(report: &PredictReport) -> String {
    let summary = &report.summary;
    let (counts, contigs) = (&summary.counts, &summary.counts.contigs);
    let seconds = summary.elapsed_ms / 1e3;
    let mut text = format!(
        "{}: {} viral, {} not viral, {} unreadable (no open frame)",
        count(counts.records, "sequence"),
        contigs.viral,
        contigs.nonviral,
        contigs.unreadable
    );
    for (number, what) in [(contigs.too_short, "too short"), (contigs.empty, "empty")] {
        if number > 0 {
            text.push_str(&format!(", {number} {what}"));
        }
    }
    text.push_str(&format!(
        "\n{}, {} of them with an open frame, {} of these viral; {} scored\n\
         model {}, {} on {}, {seconds:.1} s\n",
        count(counts.chunks, "chunk"),
        counts.readable_chunks,
        counts.viral_chunks,
        count(counts.rows_written, "frame"),
        summary.model.name,
        summary.precision,
        summary.device,
    ));
    for file in &report.files {
        text.push_str(&format!("wrote {}\n", file.display()));
    }
    text
}
