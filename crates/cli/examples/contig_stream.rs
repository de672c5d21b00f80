//! Writes synthetic contigs to standard output: `contig_stream MEGABASES | virnucpro predict -`.

#[path = "../tests/common/contig_stream.rs"]
mod contig_stream;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(megabases) = std::env::args().nth(1).and_then(|text| text.parse::<u64>().ok()) else {
        eprintln!("usage: contig_stream MEGABASES");
        return ExitCode::from(2);
    };
    let mut out = BufWriter::with_capacity(1 << 20, io::stdout().lock());
    let outcome = contig_stream::write_contigs(&mut out, megabases * 1_000_000);
    match outcome.and_then(|_| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
