//! DNABERT-S against its published model code (f32, CPU), from both weight layouts, alone and in
//! company. Head counts 4 and 12 exercise both rules for ALiBi slopes.

use virnucpro_backend::tolerance::GOLDEN_F32;
use virnucpro_models::EncoderSource;
use virnucpro_weights::{Bytes, Checkpoint};

use crate::support::golden::{COMPANIES, Case, Expectations, check_encoder, check_same_bits};
use crate::support::testdata;

const MODELS: [&str; 2] = ["dnabert_s_d64_l3_h4", "dnabert_s_d192_l2_h12"];

fn cases(model: &str) -> Vec<Case> {
    let json = std::fs::read(testdata(&format!("golden/dnabert_s/{model}.inputs.json"))).unwrap();
    let inputs: Vec<serde_json::Value> = serde_json::from_slice(&json).unwrap();
    let ids = |input: &serde_json::Value| -> Vec<u32> {
        let ids = input["input_ids"].as_array().unwrap();
        ids.iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    inputs
        .iter()
        .map(|input| Case { id: input["id"].as_str().unwrap().into(), input_ids: ids(input) })
        .collect()
}

#[test]
fn golden_dnabert_s_every_case_alone_and_in_company_from_both_layouts() {
    for model in MODELS {
        let file = |suffix: &str| testdata(&format!("golden/dnabert_s/{model}.{suffix}"));
        let (cases, expected) = (cases(model), Expectations::open(&file("expected.safetensors")));
        let [safetensors, pytorch] = ["model.safetensors", "pytorch_model.bin"].map(|layout| {
            let config = Bytes::map(&file("config.json")).unwrap();
            let checkpoint = Checkpoint::open(&file(layout)).unwrap();
            EncoderSource::from_parts(model, config, checkpoint, None).unwrap()
        });
        let compared = check_encoder(&safetensors, &cases, &expected, "cls", GOLDEN_F32);
        assert_eq!(compared, COMPANIES * expected.len(), "{model}: every tensor, in each company");
        check_same_bits(&safetensors, &pytorch, &cases);
        let error = safetensors.tokenizer().err().unwrap().to_string();
        assert!(error.contains("tokenizer.json: not found"), "{error}");
    }
}
