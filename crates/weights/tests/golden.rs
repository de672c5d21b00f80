//! The random-weight golden models, in every layout they exist in.
#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

use std::path::{Path, PathBuf};

use virnucpro_backend::DType;
use virnucpro_weights::{Checkpoint, Format, NamePattern, Value};

fn golden(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/golden")).join(name)
}

fn same_bits(a: &Checkpoint, a_name: &str, b: &Checkpoint, b_name: &str) {
    let left = a.get(a_name).unwrap_or_else(|| panic!("{a_name} is missing"));
    let right = b.get(b_name).unwrap_or_else(|| panic!("{b_name} is missing"));
    assert_eq!(left.shape(), right.shape(), "{a_name}");
    assert!(left == right, "{a_name} and {b_name} differ");
}

/// The Hugging Face name of a fair-esm tensor, SPEC B1.
fn hugging_face_name(fair_esm: &str) -> Option<String> {
    let name =
        fair_esm.strip_prefix("encoder.sentence_encoder.").or(fair_esm.strip_prefix("encoder."))?;
    if name.starts_with("lm_head.") {
        return Some(name.to_owned());
    }
    if let Some(rest) = name.strip_prefix("layers.") {
        let (layer, rest) = rest.split_once('.')?;
        let rest = match rest.rsplit_once('.')? {
            ("self_attn.q_proj", end) => format!("attention.self.query.{end}"),
            ("self_attn.k_proj", end) => format!("attention.self.key.{end}"),
            ("self_attn.v_proj", end) => format!("attention.self.value.{end}"),
            ("self_attn.rot_emb", end) => format!("attention.self.rotary_embeddings.{end}"),
            ("self_attn.out_proj", end) => format!("attention.output.dense.{end}"),
            // The fixtures carry the older parameter names of layer norms.
            ("self_attn_layer_norm", "weight") => "attention.LayerNorm.gamma".to_owned(),
            ("self_attn_layer_norm", "bias") => "attention.LayerNorm.beta".to_owned(),
            ("final_layer_norm", "weight") => "LayerNorm.gamma".to_owned(),
            ("final_layer_norm", "bias") => "LayerNorm.beta".to_owned(),
            ("fc1", end) => format!("intermediate.dense.{end}"),
            ("fc2", end) => format!("output.dense.{end}"),
            _ => return None,
        };
        return Some(format!("esm.encoder.layer.{layer}.{rest}"));
    }
    match name {
        "embed_tokens.weight" => Some("esm.embeddings.word_embeddings.weight".to_owned()),
        _ if name.starts_with("emb_layer_norm_after") => Some(format!("esm.encoder.{name}")),
        _ => None,
    }
}

fn esm2_layouts_agree(name: &str, layers: i64, heads: i64) {
    let fair = Checkpoint::open(&golden(&format!("esm2/{name}.fair-esm.pt"))).unwrap();
    let hf = Checkpoint::open(&golden(&format!("esm2/{name}.hf"))).unwrap();
    assert_eq!((fair.format(), hf.format()), (Format::PyTorch, Format::Safetensors));
    let config = fair.root().unwrap().get("cfg").unwrap().get("model").unwrap();
    assert_eq!(config.as_object().unwrap().class(), "argparse.Namespace");
    assert_eq!(config.attr("encoder_layers").unwrap().as_i64(), Some(layers));
    assert_eq!(config.attr("encoder_attention_heads").unwrap().as_i64(), Some(heads));
    let mut compared = 0;
    for fair_name in fair.names() {
        if let Some(hf_name) = hugging_face_name(fair_name)
            && hf.contains(&hf_name)
        {
            same_bits(&fair, fair_name, &hf, &hf_name);
            compared += 1;
        }
    }
    // Sixteen weights and biases a layer, the embedding, the last norm.
    assert!(compared >= 16 * layers + 3, "only {compared} tensors were compared");
}

#[test]
fn golden_esm2_d64_both_layouts_are_equal() {
    esm2_layouts_agree("esm2_d64_l3_h4", 3, 4);
}

#[test]
fn golden_esm2_d128_both_layouts_are_equal() {
    esm2_layouts_agree("esm2_d128_l2_h2", 2, 2);
}

#[test]
fn golden_dnabert_s_bin_equals_safetensors() {
    for name in ["dnabert_s_d64_l3_h4", "dnabert_s_d192_l2_h12"] {
        let bin =
            Checkpoint::open(&golden(&format!("dnabert_s/{name}.pytorch_model.bin"))).unwrap();
        let st = Checkpoint::open(&golden(&format!("dnabert_s/{name}.model.safetensors"))).unwrap();
        let shared: Vec<&str> = st.names().filter(|name| bin.contains(name)).collect();
        assert!(shared.len() > 20, "{name}: {} shared names", shared.len());
        for tensor in shared {
            same_bits(&bin, tensor, &st, tensor);
        }
    }
}

#[test]
fn golden_head_module_equals_its_state_dict() {
    let module = Checkpoint::open(&golden("head/mlp_3328x64.pth")).unwrap();
    let state = Checkpoint::open(&golden("head/mlp_3328x64.state_dict.pth")).unwrap();
    assert_eq!(module.root().unwrap().as_object().unwrap().class(), "__main__.MLPClassifier");
    assert!(module.classes().iter().any(|c| c == "torch.nn.modules.batchnorm.BatchNorm1d"));
    let names: Vec<&str> = module.names().collect();
    assert_eq!(names, state.names().collect::<Vec<_>>());
    assert_eq!(names.len(), 9);
    for name in names {
        same_bits(&module, name, &state, name);
    }
    assert_eq!(module.get("bn1.num_batches_tracked").unwrap().dtype(), DType::I64);
}

#[test]
fn golden_head_is_taken_with_its_shapes() {
    let head = Checkpoint::open(&golden("head/mlp_3328x64.pth")).unwrap();
    let mut reader = head.reader();
    for (name, shape) in [
        ("hidden_layer.weight", &[64, 3328][..]),
        ("hidden_layer.bias", &[64]),
        ("bn1.weight", &[64]),
        ("bn1.bias", &[64]),
        ("bn1.running_mean", &[64]),
        ("bn1.running_var", &[64]),
        ("output_layer.weight", &[2, 64]),
        ("output_layer.bias", &[2]),
    ] {
        let view = reader.take(name, shape).unwrap();
        assert!(view.to_f32_vec().unwrap().iter().all(|v| v.is_finite()));
    }
    reader.finish(&[NamePattern::Suffix(".num_batches_tracked")]).unwrap();
}

#[test]
fn golden_expected_safetensors_are_readable() {
    for name in ["esm2/esm2_d64_l3_h4", "dnabert_s/dnabert_s_d64_l3_h4", "head/mlp_3328x64"] {
        let path = golden(&format!("{name}.expected.safetensors"));
        let expected = Checkpoint::open(&path).unwrap();
        assert!(!expected.is_empty());
        for tensor in expected.names() {
            assert_eq!(expected.get(tensor).unwrap().dtype(), DType::F32);
        }
    }
}

#[test]
fn golden_reference_outputs_merge_is_a_concatenation() {
    let folder = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../shared/fixtures/reference_outputs"
    ));
    if !folder.is_dir() {
        println!("reference outputs are not here; nothing compared");
        return;
    }
    let open = |name: &str| Checkpoint::open(&folder.join(name)).unwrap();
    let (dna, protein, merged) =
        (open("output_1_DNABERT_S.pt"), open("output_1_ESM.pt"), open("output_1_merged.pt"));
    // One file holds tensors, the other dicts of lists of numbers.
    let row = |row: &Value| -> Vec<f32> {
        match row.as_tensor() {
            Some(tensor) => tensor.view().to_f32_vec().unwrap(),
            None => {
                let numbers = row.get("mean_representation").unwrap().as_items().unwrap();
                numbers.iter().map(|v| v.as_f64().unwrap() as f32).collect()
            }
        }
    };
    let rows = |c: &Checkpoint| -> Vec<Vec<f32>> {
        let rows = c.root().unwrap().get("data").unwrap().as_items().unwrap();
        rows.iter().map(row).collect()
    };
    let ids = |c: &Checkpoint, key: &str| -> Vec<String> {
        let ids = c.root().unwrap().get(key).unwrap().as_items().unwrap();
        ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    // Nothing in these files is a state dict except the merged one, which has one tensor.
    assert!(dna.is_empty() && protein.is_empty());
    let merged_rows = merged.get("data").unwrap();
    assert_eq!(merged_rows.shape(), [4, 3328]);
    let merged_rows = merged_rows.to_f32_vec().unwrap();
    let (dna_ids, protein_ids) = (ids(&dna, "nucleotide"), ids(&protein, "proteins"));
    let (dna_rows, protein_rows) = (rows(&dna), rows(&protein));
    for (id, row) in ids(&merged, "ids").iter().zip(merged_rows.chunks(3328)) {
        let of = |ids: &[String]| ids.iter().position(|other| other == id).unwrap();
        let dna_row = &dna_rows[of(&dna_ids)];
        let protein_row = &protein_rows[of(&protein_ids)];
        assert_eq!((dna_row.len(), protein_row.len()), (768, 2560));
        let joined = dna_row.iter().chain(protein_row).map(|v| v.to_bits());
        assert!(joined.eq(row.iter().map(|v| v.to_bits())), "{id}");
    }
}
