//! Embed two proteins with the protein encoder inside the program.
//!
//! Run with `cargo run --release -p virnucpro-pipeline --example 03_embed`.

use std::error::Error;

use virnucpro_backend::cpu::CpuBackend;
use virnucpro_batch::{PackedBatch, SequenceId, TokenizedSequence};
use virnucpro_models::{Bundle, Pooling};

fn main() -> Result<(), Box<dyn Error>> {
    let backend = CpuBackend::new(0)?;
    let source = Bundle::mini()?.protein_encoder()?;
    let tokenizer = source.tokenizer()?;
    let encoder = source.load(&backend)?;
    let mut sequences = Vec::new();
    for (number, protein) in ["MKTAYIAKQR", "MAKLAKALTEAGTKLR"].iter().enumerate() {
        let input_ids = tokenizer.encode(protein.as_bytes())?.input_ids;
        sequences.push(TokenizedSequence { sequence_id: SequenceId(number as u64), input_ids });
    }
    let batch = PackedBatch::from_sequences(&sequences)?;
    let layer = encoder.num_hidden_layers();
    let embeddings = encoder.embed(&backend, &batch, layer, Pooling::Mean)?;
    for (id, row) in
        batch.sequence_ids().iter().zip(embeddings.values.chunks(embeddings.hidden_size))
    {
        println!("{id}: {} values, the first {:?}", row.len(), &row[..4]);
    }
    Ok(())
}
