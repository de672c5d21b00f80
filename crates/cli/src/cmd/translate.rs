//! `virnucpro translate`.

use virnucpro_pipeline::{CancelToken, TranslateConfig, translate};

use crate::args::TranslateArgs;
use crate::console::{self, ProgressView, count};

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
