//! ESM-2 against fair-esm 2.0.0 (f32, CPU), from both weight layouts, alone and in company.

use virnucpro_backend::Backend;
use virnucpro_backend::cpu::CpuBackend;
use virnucpro_backend::tolerance::GOLDEN_F32;
use virnucpro_batch::{Esm2Tokenizer, SequenceTokenizer};
use virnucpro_models::EncoderSource;

use crate::support::golden::{
    COMPANIES, Case, Expectations, assert_close, check_encoder, check_same_bits, esm2, pack,
};
use crate::support::models::upload;
use crate::support::{shared, testdata};

const MODELS: [&str; 2] = ["esm2_d64_l3_h4", "esm2_d128_l2_h2"];
const LAYOUTS: [&str; 2] = ["hf", "fair-esm.pt"];

/// Every case the reference could run, tokenised by us; token ids are compared where given.
fn cases(model: &str) -> Vec<Case> {
    let json = std::fs::read(testdata(&format!("golden/esm2/{model}.inputs.json"))).unwrap();
    let inputs: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    let tokenizer = Esm2Tokenizer::default();
    let mut cases = Vec::new();
    for input in inputs {
        let sequence = input["seq"].as_str().unwrap();
        let encoding = tokenizer.encode(sequence.as_bytes()).unwrap();
        if input.get("error").is_some() {
            assert!(encoding.unknown_tokens > 0, "{sequence}: fair-esm refuses it");
            continue;
        }
        assert_eq!(encoding.input_ids.len() as u64, input["n_tokens"].as_u64().unwrap());
        if let Some(tokens) = input["tokens"].as_array() {
            let tokens: Vec<u32> = tokens.iter().map(|t| t.as_u64().unwrap() as u32).collect();
            assert_eq!(encoding.input_ids, tokens, "{sequence}");
        }
        let id = input["id"].as_str().unwrap().to_owned();
        cases.push(Case { id, input_ids: encoding.input_ids });
    }
    cases
}

fn source(model: &str, layout: &str) -> EncoderSource {
    EncoderSource::open(&testdata(&format!("golden/esm2/{model}.{layout}"))).unwrap()
}

fn expectations(model: &str) -> Expectations {
    Expectations::open(&testdata(&format!("golden/esm2/{model}.expected.safetensors")))
}

#[test]
fn golden_esm2_every_case_alone_and_in_company_from_both_layouts() {
    for model in MODELS {
        let (cases, expected) = (cases(model), expectations(model));
        let [hugging_face, fair_esm] = LAYOUTS.map(|layout| source(model, layout));
        let compared = check_encoder(&hugging_face, &cases, &expected, "bos", GOLDEN_F32);
        let elsewhere = |id: &str| ["logits", "layer1_mean"].map(|what| format!("{id}.{what}"));
        let other = cases.iter().flat_map(|case| elsewhere(&case.id));
        let other = other.filter(|name| expected.get(name).is_some()).count();
        assert_eq!(compared, COMPANIES * (expected.len() - other), "{model}: in each company");
        check_same_bits(&hugging_face, &fair_esm, &cases);
    }
}

#[test]
fn golden_esm2_logits_and_first_layer() {
    let backend = CpuBackend::new(2).unwrap();
    for model in MODELS {
        let (cases, expected) = (cases(model), expectations(model));
        let encoder = source(model, LAYOUTS[0]).load(&backend).unwrap();
        let order: Vec<usize> = (0..cases.len()).collect();
        let batch = pack(&cases, &order);
        let on_device = upload(&backend, &batch);
        let esm = esm2(&encoder);
        let last = esm.config().num_hidden_layers;
        let hidden = esm.hidden_states(&backend, &on_device, last).unwrap();
        let logits = esm.logits(&backend, &hidden).unwrap();
        let first = esm.hidden_states(&backend, &on_device, 1).unwrap();
        let first_means = backend.pool(&on_device, esm.mean_pool(), &first).unwrap();
        let mut compared = 0;
        for (row, range) in batch.token_ranges().enumerate() {
            let id = &cases[row].id;
            if let Some(expected) = expected.get(&format!("{id}.logits")) {
                let actual = &logits.values()[range.start * 33..range.end * 33];
                assert_close(&format!("{model} {id}.logits"), actual, expected, GOLDEN_F32);
                compared += 1;
            }
            if let Some(expected) = expected.get(&format!("{id}.layer1_mean")) {
                let actual = first_means.row(row);
                assert_close(&format!("{model} {id}.layer1_mean"), actual, expected, GOLDEN_F32);
                compared += 1;
            }
        }
        assert!(compared >= 10, "{model}: only {compared}");
        assert!(esm.hidden_states(&backend, &on_device, last + 1).is_err());
    }
}

#[test]
fn golden_files_in_the_repository_are_those_of_the_shared_material() {
    for name in ["esm2_d64_l3_h4.expected.safetensors", "esm2_d128_l2_h2.expected.safetensors"] {
        let Some(path) = shared(&format!("fixtures/golden/esm2/{name}")) else {
            return;
        };
        let ours = std::fs::read(testdata(&format!("golden/esm2/{name}"))).unwrap();
        assert!(ours == std::fs::read(path).unwrap(), "{name} was altered");
    }
}
