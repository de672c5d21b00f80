//! `virnucpro consensus`.

use virnucpro_pipeline::consensus;

use crate::args::ConsensusArgs;

pub(crate) fn run(args: &ConsensusArgs) -> anyhow::Result<()> {
    let report = consensus(&args.input, &args.output)?;
    if !args.quiet {
        println!("{} chunks, {} of them viral", report.chunks, report.viral_chunks);
        println!("wrote {}", report.output.display());
    }
    Ok(())
}
