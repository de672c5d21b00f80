//! `virnucpro consensus`.

use virnucpro_pipeline::consensus;

use crate::args::ConsensusArgs;
use crate::console::count;

pub(crate) fn run(args: &ConsensusArgs) -> anyhow::Result<()> {
    let report = consensus(&args.input, &args.output)?;
    if !args.quiet {
        println!("{}, {} of them viral", count(report.chunks, "chunk"), report.viral_chunks);
        println!("wrote {}", report.output.display());
    }
    Ok(())
}
