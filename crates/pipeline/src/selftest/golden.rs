//! The golden cases, through whole models: in company against the reference, and alone against
//! the same in company.

use serde_json::Value;
use virnucpro_backend::selftest::Check;
use virnucpro_backend::tolerance::{BATCH_INVARIANT, Tolerance};
use virnucpro_backend::{Backend, BackendError, PoolSpec};
use virnucpro_batch::{
    Esm2Tokenizer, PackedBatch, SequenceId, SequenceTokenizer, TokenizedSequence,
};
use virnucpro_models::{Encoder, EncoderSource, ModelError, packed_view};
use virnucpro_weights::{Bytes, Checkpoint};

use super::files::{GOLDEN, Golden};
use crate::PipelineError;

struct Case {
    id: String,
    input_ids: Vec<u32>,
}

/// Rows of a batch, pooled in both ways.
struct Pooled {
    mean: Vec<f32>,
    first: Vec<f32>,
}

pub(super) fn check_all<B: Backend>(
    backend: &B,
    tolerance: Tolerance,
) -> Result<Vec<Check>, PipelineError> {
    let mut checks = Vec::new();
    for golden in &GOLDEN {
        check(backend, golden, tolerance, &mut checks)?;
    }
    Ok(checks)
}

fn check<B: Backend>(
    backend: &B,
    golden: &Golden,
    tolerance: Tolerance,
    checks: &mut Vec<Check>,
) -> Result<(), PipelineError> {
    let checkpoint = |what: &str, bytes| {
        Checkpoint::from_bytes(&format!("{} {what}", golden.name), Bytes::from_static(bytes))
    };
    let weights = checkpoint("weights", golden.weights)?;
    let config = Bytes::from_static(golden.config);
    let encoder = EncoderSource::from_parts(golden.name, config, weights, None)?.load(backend)?;
    let expected = checkpoint("expectations", golden.expected)?;
    let cases = cases(golden)?;
    let width = encoder.hidden_size();
    let all: Vec<&Case> = cases.iter().collect();
    let together = pooled(backend, &encoder, &all)?;
    let backwards: Vec<&Case> = cases.iter().rev().collect();
    let reversed = pooled(backend, &encoder, &backwards)?;
    for (row, case) in cases.iter().enumerate() {
        let row_of = |values: &[f32], row: usize| values[row * width..(row + 1) * width].to_vec();
        let alone = pooled(backend, &encoder, &[case])?;
        let in_reverse = row_of(&reversed.mean, cases.len() - 1 - row);
        let mean = row_of(&together.mean, row);
        for (company, other) in [("alone", &alone.mean), ("backwards", &in_reverse)] {
            let name = format!("{} {} {company}", golden.name, case.id);
            let family = "same bits: models";
            checks.push(Check::compare(family, name, BATCH_INVARIANT, other, &mean, width));
        }
        let first = row_of(&together.first, row);
        for (what, actual) in [("mean", mean), (golden.first_token, first)] {
            let key = format!("{}.{what}", case.id);
            if let Some(expected) = expected.get(&key) {
                let expected = expected.to_f32_vec().map_err(ModelError::from)?;
                let name = format!("{} {key}", golden.name);
                checks.push(Check::compare(
                    golden.family,
                    name,
                    tolerance,
                    &actual,
                    &expected,
                    width,
                ));
            }
        }
    }
    Ok(())
}

fn pooled<B: Backend>(
    backend: &B,
    encoder: &Encoder<B>,
    cases: &[&Case],
) -> Result<Pooled, ModelError> {
    let sequences: Vec<_> = cases
        .iter()
        .zip(0..)
        .map(|(case, number)| TokenizedSequence {
            sequence_id: SequenceId(number),
            input_ids: case.input_ids.clone(),
        })
        .collect();
    let batch = PackedBatch::from_sequences(&sequences)?;
    let on_device = backend.upload(packed_view(&batch)?)?;
    let hidden = encoder.hidden_states(backend, &on_device, encoder.num_hidden_layers())?;
    let pool = |spec| -> Result<Vec<f32>, BackendError> {
        backend.download(&backend.pool(&on_device, spec, &hidden)?)
    };
    Ok(Pooled { mean: pool(encoder.mean_pool())?, first: pool(PoolSpec::First)? })
}

/// Every case that the reference could run.
fn cases(golden: &Golden) -> Result<Vec<Case>, PipelineError> {
    let damaged = |reason: String| ModelError::Config { file: golden.name.to_owned(), reason };
    let inputs: Vec<Value> =
        serde_json::from_slice(golden.inputs).map_err(|e| damaged(e.to_string()))?;
    let tokenizer = Esm2Tokenizer::default();
    let mut cases = Vec::new();
    for input in inputs.iter().filter(|input| input.get("error").is_none()) {
        let id = input["id"].as_str().unwrap_or_default().to_owned();
        let input_ids = match (input["input_ids"].as_array(), input["seq"].as_str()) {
            (Some(ids), _) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
            (None, Some(letters)) => tokenizer.encode(letters.as_bytes())?.input_ids,
            (None, None) => return Err(damaged(format!("case {id:?} has no input")).into()),
        };
        cases.push(Case { id, input_ids });
    }
    Ok(cases)
}
