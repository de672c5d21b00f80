//! Bad input: one clear line, exit code 1, and no output changed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};

use common::{names, open_sequence, read, run, run_with_input, testdata};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn predict(&self, input: &Path, more: &[&str]) -> common::Run {
        let output = self.output();
        let args = ["predict", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
        let run = run(&[&args[..], more].concat());
        assert_eq!(names(&output), [""; 0], "nothing may be left in the output folder");
        run
    }

    /// [`Self::predict`] of [`six_windows`], which may not go on once it is known to fail.
    fn predict_few_batches(&self, input: &Path, more: &[&str]) -> common::Run {
        let metrics = self.folder.path().join("metrics.jsonl");
        let more = [more, &["--metrics", metrics.to_str().unwrap()]].concat();
        let run = self.predict(input, &more);
        let batches = read(&metrics).matches("\"type\":\"batch\"").count();
        // All of them would be some 1,600.
        assert!(batches < 400, "{batches} batches were computed for nothing");
        run
    }
}

/// Reads that fill six windows of frames: more than are under way at a time, all of them read at once.
fn six_windows() -> String {
    let mut reads = String::new();
    for number in 0..2_100 {
        let letters = open_sequence(500, 7 + number);
        reads.push_str(&format!("@r{number}\n{letters}\n+\n{}\n", "I".repeat(500)));
    }
    reads
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn unreadable_inputs_are_named() {
    let bench = Bench::new();
    let fasta = format!(">a\n{}\n", open_sequence(20_000, 5));
    let whole = gzip(fasta.as_bytes());
    let cut = bench.file("cut.fa.gz", &whole[..whole.len() / 2]);
    bench.predict(&cut, &[]).failed_with(&["cut.fa.gz", "byte"]);
    let binary = bench.file("program.bin", [0u8, 159, 1, 2, 0, 255].repeat(40));
    bench.predict(&binary, &[]).failed_with(&["program.bin"]);
    let prose = bench.file("prose.txt", "To be or not to be,\nthat is the question.\n");
    bench.predict(&prose, &[]).failed_with(&["prose.txt"]);
    let missing = bench.folder.path().join("missing.fa");
    let run = bench.predict(&missing, &[]).failed_with(&["missing.fa", "No such file"]);
    assert_eq!(run.stderr.matches("No such file").count(), 1, "{}", run.stderr);
    bench.predict(bench.folder.path(), &[]).failed_with(&["directory"]);
    let fastq = bench.file("reads.fq", "@r1\nACGTACGT\n+\nIIIIIIII\n@r2\nACGT\n+\nII\n");
    bench.predict(&fastq, &[]).failed_with(&["reads.fq", "r2"]);
}

#[test]
fn a_late_error_keeps_the_earlier_results_of_the_folder() {
    let bench = Bench::new();
    let output = bench.output();
    let good = testdata("oracle/inputs/nasty_crlf.fa");
    run(&["predict", good.to_str().unwrap(), "-q", "-o", output.to_str().unwrap()]).ok();
    let before = read(output.join("summary.json"));
    let mut broken = read(&good);
    broken.push_str(">x\nACGT\n");
    let compressed = gzip(broken.as_bytes());
    let cut = bench.file("cut.fa.gz", &compressed[..compressed.len() - 9]);
    let args = ["predict", good.to_str().unwrap(), cut.to_str().unwrap(), "-o"];
    run(&[&args[..], &[output.to_str().unwrap()]].concat()).failed_with(&["cut.fa.gz"]);
    assert_eq!(read(output.join("summary.json")), before);
    assert!(names(&output).iter().all(|name| !name.contains("partial")), "{:?}", names(&output));
}

#[test]
fn a_broken_record_ends_the_run_without_computing_what_came_before_it() {
    let bench = Bench::new();
    let mut reads = six_windows();
    reads.push_str("@broken\nACGT\n+\nII\n");
    let input = bench.file("reads.fq", reads);
    bench.predict_few_batches(&input, &[]).failed_with(&["reads.fq", "broken"]);
}

#[test]
fn altered_weights_of_a_model_are_named_and_end_the_run() {
    let bench = Bench::new();
    let (mini, model) = (testdata("../models/mini"), bench.folder.path().join("altered"));
    for part in ["", "esm2", "dnabert_s", "heads"] {
        std::fs::create_dir(model.join(part)).unwrap();
        for name in names(&mini.join(part)) {
            let file = mini.join(part).join(&name);
            if file.is_file() {
                std::fs::copy(file, model.join(part).join(name)).unwrap();
            }
        }
    }
    let short = bench.file("a.fa", format!(">a\n{}\n", open_sequence(600, 5)));
    let long = bench.file("reads.fq", six_windows());
    let more = ["--model", model.to_str().unwrap()];
    for part in ["dnabert_s/model.safetensors", "esm2/model.safetensors"] {
        let good = std::fs::read(mini.join(part)).unwrap();
        let mut altered = good.clone();
        *altered.last_mut().unwrap() ^= 1;
        std::fs::write(model.join(part), &altered).unwrap();
        bench.predict(&short, &more).failed_with(&[part, "SHA-256"]);
        bench.predict_few_batches(&long, &more).failed_with(&[part, "SHA-256"]);
        altered.truncate(1000);
        std::fs::write(model.join(part), &altered).unwrap();
        bench.predict(&short, &more).failed_with(&[part, "SHA-256"]);
        std::fs::write(model.join(part), &good).unwrap();
    }
}

#[test]
fn unwritable_outputs_are_named() {
    let bench = Bench::new();
    let input = testdata("oracle/inputs/nasty_crlf.fa");
    let file = bench.file("file", "x");
    let args = ["predict", input.to_str().unwrap(), "-o", file.to_str().unwrap()];
    run(&args).failed_with(&["file"]);
    assert_eq!(read(&file), "x");
    let output = bench.output();
    std::fs::create_dir_all(output.join("contigs.tsv")).unwrap();
    let args = ["predict", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&args).failed_with(&["contigs.tsv"]);
    assert_eq!(names(&output), ["contigs.tsv"]);
    let table = testdata("tables/consensus/ties/prediction_results.txt");
    let nowhere = bench.folder.path().join("no/such/folder/x.csv");
    let args = ["consensus", table.to_str().unwrap(), "-o", nowhere.to_str().unwrap()];
    run(&args).failed_with(&["no/such/folder"]);
}

#[test]
fn wrong_models_are_named() {
    let bench = Bench::new();
    let input = bench.file("a.fa", format!(">a\n{}\n", open_sequence(600, 5)));
    bench
        .predict(&input, &["--chunk-length", "400"])
        .failed_with(&["no classifier for chunk length 400", "300, 500"]);
    let empty = bench.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let missing = bench.folder.path().join("nothing");
    for (model, part) in [(&empty, "bundle.json"), (&missing, "nothing"), (&input, "not a bundle")]
    {
        bench.predict(&input, &["--model", model.to_str().unwrap()]).failed_with(&[part]);
    }
}

#[test]
fn hostile_checkpoints_are_refused_and_run_nothing() {
    let bench = Bench::new();
    let mut header = (1u64 << 40).to_le_bytes().to_vec();
    header.extend(b"{}");
    let huge = bench.file("huge.safetensors", header);
    run(&["models", "inspect", huge.to_str().unwrap()]).failed_with(&["huge.safetensors"]);
    let json = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}"#;
    let mut overlapping = (json.len() as u64).to_le_bytes().to_vec();
    overlapping.extend(json);
    overlapping.extend([0u8; 12]);
    let overlapping = bench.file("overlap.safetensors", overlapping);
    run(&["models", "inspect", overlapping.to_str().unwrap()])
        .failed_with(&["overlap.safetensors"]);
    let witness = bench.folder.path().join("witness");
    let pickle = format!("cos\nsystem\n(S'touch {}'\ntR.", witness.display());
    let hostile = bench.file("hostile.pth", torch_archive(pickle.as_bytes()));
    for args in [
        vec!["models", "inspect", hostile.to_str().unwrap()],
        vec![
            "embed",
            hostile.to_str().unwrap(),
            "--model",
            hostile.to_str().unwrap(),
            "-o",
            "x.npy",
        ],
    ] {
        let run = run(&args);
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        assert!(run.stderr.contains("hostile.pth"), "{}", run.stderr);
    }
    run(&["models", "inspect", hostile.to_str().unwrap()]).failed_with(&["system", "refused"]);
    assert!(!witness.exists(), "the pickle was executed");
}

/// A stored zip archive with the one entry that makes a PyTorch file.
fn torch_archive(pickle: &[u8]) -> Vec<u8> {
    let name = b"archive/data.pkl";
    let mut crc = flate2::Crc::new();
    crc.update(pickle);
    let size = (pickle.len() as u32).to_le_bytes();
    let common: Vec<u8> = [
        &[0u8, 0, 0, 0, 0, 0, 0x21, 0][..],
        &crc.sum().to_le_bytes(),
        &size,
        &size,
        &(name.len() as u16).to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    let local = [&b"PK\x03\x04\x14\x00"[..], &common, name, pickle].concat();
    let central = [&b"PK\x01\x02\x14\x00\x14\x00"[..], &common, &[0; 14], name].concat();
    let end = [
        &b"PK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x00"[..],
        &(central.len() as u32).to_le_bytes(),
        &(local.len() as u32).to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    [local, central, end].concat()
}

#[test]
fn bad_usage_ends_with_two() {
    for args in [
        vec!["predict"],
        vec!["predict", "x.fa"],
        vec!["predict", "x.fa", "-o", "out", "--chunk-length", "0"],
        vec!["predict", "x.fa", "-o", "out", "--device", "abacus"],
        vec!["translate", "x.fa", "-o", "out"],
        vec!["models", "bundle", "--classifier", "x"],
        vec!["frobnicate"],
    ] {
        assert_eq!(run(&args).code, Some(2), "{args:?}");
    }
    let help = run(&["predict", "--help"]).ok();
    for part in ["Exit codes", "143", "at least half of its readable chunks"] {
        let unwrapped = help.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(unwrapped.contains(part), "{part}: {}", help.stdout);
    }
}

#[test]
fn standard_input_twice_is_refused() {
    let bench = Bench::new();
    let args = ["predict", "-", "-", "-o", bench.output().to_str().unwrap()].map(str::to_owned);
    run_with_input(&args, b">a\nACGT\n").failed_with(&["standard input"]);
}
