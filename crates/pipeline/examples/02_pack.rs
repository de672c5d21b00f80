//! Tokenise proteins and pack them into batches without padding.
//!
//! Run with `cargo run -p virnucpro-pipeline --example 02_pack`.

use std::error::Error;
use std::num::NonZeroUsize;

use virnucpro_batch::{
    Esm2Tokenizer, PackingMetrics, SequenceId, SequenceTokenizer, TokenizedSequence,
    pack_first_fit_decreasing,
};

fn main() -> Result<(), Box<dyn Error>> {
    let token_budget = NonZeroUsize::new(24).expect("24 is not zero");
    let tokenizer = Esm2Tokenizer::default();
    let proteins = ["MKTAYIAKQR", "MAKLA", "GSHMEDPVDAFKWLK", "MK"];
    let mut sequences = Vec::new();
    for (number, protein) in proteins.iter().enumerate() {
        let input_ids = tokenizer.encode(protein.as_bytes())?.input_ids;
        sequences.push(TokenizedSequence { sequence_id: SequenceId(number as u64), input_ids });
    }
    let mut metrics = PackingMetrics::default();
    for batch in pack_first_fit_decreasing(sequences, token_budget)? {
        println!("cu_seqlens {:?} of {:?}", batch.cu_seqlens(), batch.sequence_ids());
        metrics.record(&batch, token_budget.get());
    }
    println!("packing_efficiency {:.2}", metrics.packing_efficiency().unwrap_or_default());
    Ok(())
}
