//! `virnucpro translate`.

use virnucpro_pipeline::{CancelToken, TranslateConfig, translate};

use crate::args::TranslateArgs;
use crate::console::{self, ProgressView};

pub(crate) fn run(args: &TranslateArgs, cancel: &CancelToken) -> anyhow::Result<()> {
    let config = TranslateConfig {
        inputs: super::inputs(&args.inputs),
        output_dir: args.output.clone(),
        chunk_length: args.chunk_length,
        threads: super::threads(args.threads),
    };
    let mut view = ProgressView::new(args.quiet);
    let result = translate(&config, cancel, &mut |progress| view.update(progress));
    view.finish();
    let report = result?;
    if !args.quiet {
        console::warnings(&report.warnings);
        println!(
            "{} sequences, {} letters; {} chunks, {} of them with an open frame; {} frames",
            report.records, report.letters, report.chunks, report.readable_chunks, report.frames
        );
        for file in &report.files {
            println!("wrote {}", file.display());
        }
    }
    Ok(())
}
