//! `virnucpro translate`.

use virnucpro_pipeline::monitor::InputProgress;
use virnucpro_pipeline::{CancelToken, Monitor, Progress, TranslateConfig, translate};

use crate::args::TranslateArgs;
use crate::console::{self, count};
use crate::terminal::{Detail, Log, View};

pub(crate) fn run(args: &TranslateArgs, cancel: &CancelToken, log: &Log) -> anyhow::Result<()> {
    let config = TranslateConfig {
        inputs: super::inputs(&args.inputs),
        output_dir: args.output.clone(),
        chunk_length: args.chunk_length,
        threads: super::threads(args.threads),
    };
    // Nothing is embedded here: the monitor holds the progress for the view, and no more.
    let monitor = Monitor::disabled();
    let detail = if args.quiet { Detail::Nothing } else { Detail::Line };
    let mut view = View::start(detail, "virnucpro translate", false, &monitor, log);
    let result = translate(&config, cancel, &mut |progress| {
        let Progress { records, letters, total_letters, .. } = progress;
        monitor.progress(InputProgress { records, letters, total_letters });
        view.update();
    });
    view.finish();
    let report = result?;
    if !args.quiet {
        console::warnings(&report.warnings);
        println!(
            "{}, {}; {}, {} of them with an open frame; {}",
            count(report.records, "sequence"),
            count(report.letters, "letter"),
            count(report.chunks, "chunk"),
            report.readable_chunks,
            count(report.frames, "frame")
        );
        for file in &report.files {
            println!("wrote {}", file.display());
        }
    }
    Ok(())
}
