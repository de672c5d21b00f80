//! Counts repeated ids and decides chunks for any number of records, to see that memory does
//! not grow with it:
//!
//! ```text
//! cargo build --release -p virnucpro-output --example bounded_memory
//! /usr/bin/time -v target/release/examples/bounded_memory 20000000
//! ```
//!
//! One record in ten repeats an earlier id. The temporary files are in the current folder.

use std::io;
use virnucpro_output::{Consensus, DuplicateIds};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: u64 = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let mut ids = DuplicateIds::new("summary.json");
    let mut consensus = Consensus::new("prediction_results_highestscore.csv");
    for number in 0..records {
        // An odd factor scatters the numbers, so that no two runs hold neighbours.
        let name = (number - number % 10 / 9 * (number / 2)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let id = format!("read_{name:016x}");
        ids.push(&id)?;
        for frame in ["F1", "R2"] {
            let score2 = (number % 100) as f64 / 100.0;
            consensus.push(&format!("{id}_chunk_1{frame}"), 1.0 - score2, score2)?;
        }
    }
    println!("{records} records, {} with the id of an earlier one", ids.finish()?);
    let counts = consensus.write(io::sink())?;
    println!("{} chunks, {} of them viral", counts.chunks, counts.viral_chunks);
    Ok(())
}
