//! Token ids against the reference programs.

use std::path::Path;

use virnucpro_batch::{DnabertSTokenizer, Esm2Tokenizer, SequenceTokenizer};

fn repository(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

#[test]
fn golden_esm2_tokens_match_fair_esm() {
    let table = std::fs::read_to_string(repository("testdata/esm2_tokens/tokens.tsv")).unwrap();
    let tokenizer = Esm2Tokenizer::default();
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let (protein, tokens) = line.split_once('\t').unwrap();
        let expected: Vec<u32> = tokens.split(' ').map(|t| t.parse().unwrap()).collect();
        assert_eq!(tokenizer.encode(protein.as_bytes()).unwrap().input_ids, expected, "{protein}");
        rows += 1;
    }
    assert_eq!(rows, 40);
}

#[test]
fn mini_tokenizer_covers_every_letter_and_rebuilds_the_sequence() {
    let json = std::fs::read(repository("models/mini/dnabert_s/tokenizer.json")).unwrap();
    let tokenizer = DnabertSTokenizer::from_json("mini", &json).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2048);
    let parsed: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let vocab = parsed["model"]["vocab"].as_object().unwrap();
    let text_of = |id: u32| vocab.iter().find(|(_, v)| v.as_u64() == Some(id.into())).unwrap().0;
    let sequence = "ACGTTTGACCANNNNGATTACAGGGCCCATATATCGCGTTAAC".repeat(12);
    let encoding = tokenizer.encode(sequence.as_bytes()).unwrap();
    let inner = &encoding.input_ids[1..encoding.input_ids.len() - 1];
    assert_eq!(inner.iter().map(|&id| text_of(id).as_str()).collect::<String>(), sequence);
    assert!(inner.len() < sequence.len() / 2, "pairs were merged");
    assert_eq!(encoding.unknown_tokens, 0);
    assert_eq!(tokenizer.encode(b"ACRYGT").unwrap().unknown_tokens, 2);
}
