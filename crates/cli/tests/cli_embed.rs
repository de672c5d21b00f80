//! `embed`, `classify` and `models` with the golden models.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{names, open_sequence, read, run, testdata};

/// The f32 values of an NPY file.
fn npy(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..].as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn embed(input: &Path, model: &Path, output: &Path, more: &[&str]) -> common::Run {
    let args = [
        "embed",
        input.to_str().unwrap(),
        "--model",
        model.to_str().unwrap(),
        "-o",
        output.to_str().unwrap(),
    ];
    run(&[&args[..], more].concat())
}

#[test]
fn embed_rows_come_in_input_order_whatever_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let fasta = testdata("golden/esm2/esm2_d64_l3_h4.fasta");
    let ids: Vec<String> =
        read(&fasta).lines().filter_map(|line| line.strip_prefix('>').map(str::to_owned)).collect();
    let mut found = Vec::new();
    for (layout, budget) in [("hf", "64"), ("fair-esm.pt", "100000")] {
        let model = testdata(&format!("golden/esm2/esm2_d64_l3_h4.{layout}"));
        let output = folder.path().join(format!("{layout}.npy"));
        embed(&fasta, &model, &output, &["--token-budget", budget]).ok();
        let written = read(output.with_extension("ids.txt"));
        assert_eq!(written.lines().collect::<Vec<_>>(), ids);
        found.push(npy(&output));
    }
    assert_eq!(found[0].len(), ids.len() * 64);
    assert_eq!(found[0], found[1], "bit for bit from both layouts and budgets");
}

#[test]
fn embed_pooling_layer_and_formats() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let model = testdata("golden/esm2/esm2_d64_l3_h4.hf");
    let fasta = at("two.faa");
    std::fs::write(&fasta, ">one\nmkta\n>two words\nACDEFGHIKL\n>three\nMJ*\n").unwrap();
    embed(&fasta, &model, &at("mean.npy"), &["--alphabet", "protein"]).ok();
    embed(&fasta, &model, &at("bos.npy"), &["--pool", "bos"]).ok();
    let run = embed(&fasta, &model, &at("all.npy"), &["--pool", "none"]).ok();
    assert!(run.stderr.contains("2 tokens stand for letters outside"), "{}", run.stderr);
    assert!(run.stdout.contains("3 sequences, 23 tokens"), "{}", run.stdout);
    let (mean, bos, all) = (npy(&at("mean.npy")), npy(&at("bos.npy")), npy(&at("all.npy")));
    assert_eq!(all.len(), (6 + 12 + 5) * 64);
    assert_eq!(bos[..64], all[..64]);
    assert_eq!(bos[64..128], all[6 * 64..7 * 64]);
    let first_mean: f32 = (1..5).map(|token| all[token * 64]).sum::<f32>() / 4.0;
    assert!((first_mean - mean[0]).abs() < 1e-5);
    embed(&fasta, &model, &at("layer0.npy"), &["--layer", "0", "--pool", "none"]).ok();
    let layer0 = npy(&at("layer0.npy"));
    assert_eq!(layer0[..64], layer0[6 * 64..7 * 64], "both begin with the same embedding");
    assert_ne!(layer0[..64], all[..64]);
    for format in ["safetensors", "parquet"] {
        embed(&fasta, &model, &at(&format!("x.{format}")), &[]).ok();
        assert!(std::fs::read(at(&format!("x.{format}"))).unwrap().len() > 3 * 64 * 4);
    }
    embed(&fasta, &model, &at("x.csv"), &[]).failed_with(&["x.csv"]);
    embed(&fasta, &model, &at("y.npy"), &["--layer", "4"]).failed_with(&["layer 4", "0 to 3"]);
    embed(&fasta, &model, &at("y.npy"), &["--alphabet", "dna"]).failed_with(&["reads protein"]);
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("y.")));
}

#[test]
fn embed_notes_the_hash_of_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let (fasta, output) = (folder.path().join("one.faa"), folder.path().join("x.safetensors"));
    std::fs::write(&fasta, ">one\nMKTA\n").unwrap();
    let manifest = read(testdata("../models/mini/bundle.json"));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    embed(&fasta, &testdata("../models/mini/esm2"), &output, &[]).ok();
    let header = String::from_utf8_lossy(&std::fs::read(output).unwrap()).into_owned();
    let hash = &manifest["protein_encoder"]["files"]["model.safetensors"];
    assert!(header.contains(&format!("\"model_sha256_0\":{hash}")), "{header:.400}");
}

#[test]
fn embed_dna_with_the_nucleotide_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let fasta = folder.path().join("dna.fa");
    let sequence = open_sequence(400, 3);
    let lower = sequence.to_lowercase();
    std::fs::write(&fasta, format!(">a\n{sequence}\n>b\n{lower}\n>c\nACGT\n")).unwrap();
    let output = folder.path().join("x.npy");
    let model = testdata("../models/mini/dnabert_s");
    embed(&fasta, &model, &output, &["--alphabet", "dna"]).ok();
    let rows = npy(&output);
    assert_eq!(rows.len(), 3 * 192);
    assert_eq!(rows[..192], rows[192..384], "lower case is read as upper case");
    assert_ne!(rows[..192], rows[384..]);
}

#[test]
fn classify_golden_features_give_golden_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let features = testdata("golden/head/mlp_3328x64.expected.safetensors");
    let mut tables = Vec::new();
    for head in ["mlp_3328x64.pth", "mlp_3328x64.state_dict.pth"] {
        let head = testdata(&format!("golden/head/{head}"));
        let args = [
            "classify",
            features.to_str().unwrap(),
            "--tensor",
            "x",
            "--head",
            head.to_str().unwrap(),
        ];
        let printed = run(&args).ok().stdout;
        let output = folder.path().join("table.txt");
        run(&[&args[..], &["-o", output.to_str().unwrap()]].concat()).ok();
        assert_eq!(read(output), printed);
        tables.push(printed);
    }
    assert_eq!(tables[0], tables[1]);
    let rows: Vec<&str> = tables[0].lines().skip(1).collect();
    assert_eq!(rows.len(), 37);
    for row in rows {
        let cells: Vec<&str> = row.split('\t').collect();
        let scores: Vec<f64> = cells[2..].iter().map(|v| v.parse().unwrap()).collect();
        assert!((scores[0] + scores[1] - 1.0).abs() < 1e-6);
        assert_eq!(cells[1], if scores[1] > scores[0] { "virus" } else { "others" });
    }
}

#[test]
fn models_bundle_made_from_parts_predicts_like_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let mini = testdata("../models/mini");
    let fasta = at("in.fa");
    std::fs::write(
        &fasta,
        format!(">a\n{}\n>b\n{}\n", open_sequence(1500, 9), open_sequence(700, 8)),
    )
    .unwrap();
    let predict = |model: &str, out: &str| {
        let out = at(out);
        let args = ["predict", fasta.to_str().unwrap(), "--model", model, "-q", "-o"];
        run(&[&args[..], &[out.to_str().unwrap(), "--chunk-length", "300"]].concat()).ok();
        read(out.join("prediction_results.txt"))
    };
    let expected = predict("mini", "out0");
    for (bundle, out) in [("folder", "out1"), ("file.vnp", "out2")] {
        let path = at(bundle);
        let path = path.to_str().unwrap();
        let (esm, dna) = (mini.join("esm2"), mini.join("dnabert_s"));
        let classifier = format!("300={}", mini.join("heads/mini.safetensors").display());
        let args = ["models", "bundle", "--protein", esm.to_str().unwrap(), "--nucleotide"];
        let rest = [dna.to_str().unwrap(), "--classifier", &classifier, "-o", path];
        run(&[&args[..], &rest].concat()).ok();
        assert_eq!(predict(path, out), expected, "{bundle}");
        let inspected = run(&["models", "inspect", path]).ok().stdout;
        assert!(inspected.contains("classifier for chunk length 300"), "{inspected}");
        let args = ["predict", fasta.to_str().unwrap(), "--model", path, "-o", "never"];
        run(&args).failed_with(&["no classifier for chunk length 500"]);
    }
    assert!(predict(mini.to_str().unwrap(), "out3") == expected, "the folder in the repository");
    let inspected = run(&["models", "inspect", "mini", "--json"]).ok().stdout;
    let json: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(json["encoders"][0]["hidden_size"], 192);
}

#[test]
fn models_convert_and_inspect_every_layout() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let input = testdata("golden/esm2/esm2_d64_l3_h4.fair-esm.pt");
    let output = at("converted");
    let args = ["models", "convert", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    assert!(run(&args).ok().stdout.contains("ESM-2"));
    assert_eq!(names(&output), ["config.json", "model.safetensors"]);
    let fasta = at("p.faa");
    std::fs::write(&fasta, ">one\nMKTAYIAKQR\n").unwrap();
    embed(&fasta, &output, &at("a.npy"), &[]).ok();
    embed(&fasta, &input, &at("b.npy"), &[]).ok();
    assert_eq!(npy(&at("a.npy")), npy(&at("b.npy")));
    let head = testdata("golden/head/mlp_3328x64.pth");
    let converted = at("head.safetensors");
    let args = ["models", "convert", head.to_str().unwrap(), "-o", converted.to_str().unwrap()];
    assert!(run(&args).ok().stdout.contains("classifier"));
    let inspected = run(&["models", "inspect", head.to_str().unwrap()]).ok().stdout;
    for part in ["bn1.running_var", "hidden_layer.weight", "MLPClassifier"] {
        assert!(inspected.contains(part), "{part}: {inspected}");
    }
}
