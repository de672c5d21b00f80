//! DNABERT-S's byte-pair encoding, read from the model's own `tokenizer.json`.

use tokenizers::Tokenizer;

use super::{Encoding, SequenceTokenizer};
use crate::BatchError;

/// Tokeniser of DNABERT-S: `[CLS]`, byte pairs, `[SEP]`.
#[derive(Clone, Debug)]
pub struct DnabertSTokenizer {
    tokenizer: Tokenizer,
    unknown_id: Option<u32>,
}

impl DnabertSTokenizer {
    /// Reads a `tokenizer.json`; `name` says where it came from, for error messages.
    ///
    /// Truncation and padding settings in the file are switched off: the reference programs pass
    /// no maximum length, and packed batches have no padding.
    ///
    /// # Errors
    /// [`BatchError::Tokenizer`] when the file cannot be parsed, or when it does not put `[CLS]`
    /// and `[SEP]` around a sequence.
    pub fn from_json(name: &str, json: &[u8]) -> Result<Self, BatchError> {
        let refuse = |reason: String| BatchError::Tokenizer { name: name.to_owned(), reason };
        let mut tokenizer = Tokenizer::from_bytes(json)
            .map_err(|e| refuse(format!("not a tokenizer.json: {e}")))?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|e| refuse(e.to_string()))?;
        let special = |token: &str| {
            tokenizer.token_to_id(token).ok_or_else(|| refuse(format!("it has no {token} token")))
        };
        let around = [special("[CLS]")?, special("[SEP]")?];
        let probe = tokenizer.encode_fast("A", true).map_err(|e| refuse(e.to_string()))?;
        let ids = probe.get_ids();
        if ids.len() < 3 || ids[0] != around[0] || ids[ids.len() - 1] != around[1] {
            return Err(refuse("it does not put [CLS] and [SEP] around a sequence".into()));
        }
        let unknown_id = tokenizer.token_to_id("[UNK]");
        Ok(Self { tokenizer, unknown_id })
    }

    /// One more than the largest token id, special and added tokens included: the rows an
    /// embedding table must have.
    pub fn vocab_size(&self) -> usize {
        self.tokenizer.get_vocab(true).values().max().map_or(0, |&largest| largest as usize + 1)
    }
}

impl SequenceTokenizer for DnabertSTokenizer {
    fn encode(&self, sequence: &[u8]) -> Result<Encoding, BatchError> {
        let text = String::from_utf8_lossy(sequence);
        let encoded = self
            .tokenizer
            .encode_fast(&*text, true)
            .map_err(|e| BatchError::Encode { reason: e.to_string() })?;
        let input_ids = encoded.get_ids().to_vec();
        let unknown_tokens = input_ids.iter().filter(|&&id| Some(id) == self.unknown_id).count();
        Ok(Encoding { input_ids, unknown_tokens })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"version": "1.0", "added_tokens": [
        {"id": 0, "content": "[UNK]", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true},
        {"id": 1, "content": "[CLS]", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true},
        {"id": 2, "content": "[SEP]", "single_word": false, "lstrip": false, "rstrip": false,
         "normalized": false, "special": true}],
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst",
         "stride": 0},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                    {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [1], "tokens": ["[CLS]"]},
                            "[SEP]": {"id": "[SEP]", "ids": [2], "tokens": ["[SEP]"]}}},
        "model": {"type": "BPE", "unk_token": "[UNK]", "fuse_unk": false,
         "vocab": {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "A": 3, "C": 4, "AA": 5},
         "merges": ["A A"]}}"#;

    #[test]
    fn encode_merges_pairs_and_ignores_truncation_settings() {
        let tokenizer = DnabertSTokenizer::from_json("t", JSON.as_bytes()).unwrap();
        let encoding = tokenizer.encode(b"AAACCCCC").unwrap();
        assert_eq!(encoding.input_ids, [1, 5, 3, 4, 4, 4, 4, 4, 2]);
        assert_eq!(encoding.unknown_tokens, 0);
        let encoding = tokenizer.encode(b"AXC").unwrap();
        assert_eq!((encoding.input_ids, encoding.unknown_tokens), (vec![1, 3, 0, 4, 2], 1));
        assert_eq!(tokenizer.encode(b"").unwrap().input_ids, [1, 2]);
        assert_eq!(tokenizer.vocab_size(), 6);
        let sparse = JSON.replace("\"AA\": 5", "\"AA\": 900");
        let tokenizer = DnabertSTokenizer::from_json("t", sparse.as_bytes()).unwrap();
        assert_eq!(tokenizer.vocab_size(), 901);
    }

    #[test]
    fn from_json_unusable_file_is_refused_with_its_name() {
        let refused = |json: &str| {
            DnabertSTokenizer::from_json("dir/tokenizer.json", json.as_bytes())
                .unwrap_err()
                .to_string()
        };
        assert!(refused("{").starts_with("dir/tokenizer.json: not a tokenizer.json"));
        assert!(refused(&JSON.replace("[CLS]", "[BOS]")).contains("no [CLS] token"));
        let bare = JSON.replace(
            "\"single\": [{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}},",
            "\"single\": [",
        );
        assert!(refused(&bare).contains("[CLS] and [SEP] around"));
    }
}
