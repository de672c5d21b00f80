//! `predict` from files of sequences to every output, with the model inside the program.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::io::Write;
use std::path::Path;

use common::{names, open_sequence, read, run, run_with_input, shared, testdata};

const FILES: [&str; 5] = [
    "contigs.tsv",
    "prediction_results.txt",
    "prediction_results_highestscore.csv",
    "summary.json",
    "viral.fasta",
];

/// The outputs that do not hold paths or times.
const TABLES: [&str; 4] =
    ["contigs.tsv", "prediction_results.txt", "prediction_results_highestscore.csv", "viral.fasta"];

fn predict(input: &Path, output: &Path, more: &[&str]) -> common::Run {
    let args = ["predict", input.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&[&args[..], more].concat())
}

fn summary(output: &Path) -> serde_json::Value {
    serde_json::from_str(&read(output.join("summary.json"))).unwrap()
}

fn column<'a>(table: &'a str, name: &str) -> Vec<&'a str> {
    let mut lines = table.lines();
    let at = lines.next().unwrap().split('\t').position(|column| column == name).unwrap();
    lines.map(|line| line.split('\t').nth(at).unwrap()).collect()
}

#[test]
fn predict_results_do_not_depend_on_threads_budget_or_compression() {
    let folder = tempfile::tempdir().unwrap();
    let fasta = testdata("oracle/inputs/nasty_mixture.fa");
    let plain = folder.path().join("plain");
    let run = predict(&fasta, &plain, &["--chunk-length", "300", "--threads", "1"]).ok();
    assert!(run.stdout.contains("frames scored"), "{}", run.stdout);
    assert_eq!(names(&plain), FILES);
    assert!(column(&read(plain.join("prediction_results.txt")), "score2").len() > 100);

    let gzip = folder.path().join("input.fa.gz");
    let mut file = std::fs::File::create(&gzip).unwrap();
    for half in std::fs::read(&fasta).unwrap().chunks(9000) {
        let mut encoder = flate2::write::GzEncoder::new(&mut file, flate2::Compression::fast());
        encoder.write_all(half).unwrap();
        encoder.finish().unwrap();
    }
    let other = folder.path().join("other");
    let more = ["--chunk-length", "300", "--threads", "3", "--token-budget", "333", "--quiet"];
    let quiet = predict(&gzip, &other, &more).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    for file in TABLES {
        assert_eq!(read(plain.join(file)), read(other.join(file)), "{file}");
    }
    let (a, b) = (summary(&plain), summary(&other));
    assert_eq!(a["counts"], b["counts"]);
    assert_eq!(b["inputs"][0]["compression"], "gzip");
    assert_ne!(a["inputs"][0]["sha256"], b["inputs"][0]["sha256"]);
}

#[test]
fn predict_tables_agree_with_each_other_and_with_translate() {
    let folder = tempfile::tempdir().unwrap();
    for (case, length) in [("nasty_ambiguous", "500"), ("nasty_headers", "300")] {
        let input = testdata(&format!("oracle/inputs/{case}.fa"));
        let output = folder.path().join(case);
        predict(&input, &output, &["--chunk-length", length]).ok();
        let predictions = read(output.join("prediction_results.txt"));

        let frames = testdata(&format!("oracle/expected/{case}/L{length}/identified_protein.faa"));
        let frames = read(frames);
        let ids: Vec<&str> = frames.lines().filter_map(|line| line.strip_prefix('>')).collect();
        assert_eq!(column(&predictions, "Sequence_ID"), ids, "one row a frame, in order");

        let again = folder.path().join("again.csv");
        let table = output.join("prediction_results.txt");
        run(&["consensus", table.to_str().unwrap(), "-o", again.to_str().unwrap()]).ok();
        let decisions = read(output.join("prediction_results_highestscore.csv"));
        assert_eq!(decisions, read(again));

        let contigs = read(output.join("contigs.tsv"));
        let count = |name: &str| -> u64 {
            column(&contigs, name).iter().map(|v| v.parse::<u64>().unwrap()).sum()
        };
        let counts = &summary(&output)["counts"];
        assert_eq!(counts["records"], column(&contigs, "id").len() as u64);
        for name in ["chunks", "readable_chunks", "viral_chunks"] {
            assert_eq!(counts[name], count(name), "{name}");
        }
        assert_eq!(counts["frames"], ids.len() as u64);
        assert_eq!(counts["rows_written"], ids.len() as u64);
        assert_eq!(counts["protein_sequences_embedded"], ids.len() as u64);
        assert_eq!(counts["non_finite"], 0);
        let viral = column(&contigs, "verdict").iter().filter(|v| **v == "viral").count();
        assert_eq!(counts["contigs"]["viral"], viral as u64);
        let fasta = read(output.join("viral.fasta"));
        assert_eq!(fasta.lines().filter(|line| line.starts_with('>')).count(), viral);
    }
}

#[test]
fn predict_special_records_are_reported_and_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let long = open_sequence(1200, 7);
    let input = format!(
        ">long and words\n{long}\n>same\n{}\n>same\n{}\n>../../evil\tx\n{}\n>n\n{}\n>empty\n\n>ac\nAC\n>\n{}\n",
        open_sequence(90, 1),
        open_sequence(120, 2),
        open_sequence(100, 3).to_lowercase(),
        "N".repeat(600),
        open_sequence(95, 4),
    );
    let output = folder.path().join("out");
    let args = ["predict", "-", "-o", output.to_str().unwrap(), "--min-length", "3"];
    let run = run_with_input(&args, input.as_bytes()).ok();
    let contigs = read(output.join("contigs.tsv"));
    let ids = ["long", "same", "same", "../../evil", "n", "empty", "ac", ""];
    assert_eq!(column(&contigs, "id"), ids);
    let verdicts = column(&contigs, "verdict");
    assert_eq!(verdicts[4..7], ["unreadable", "empty", "too_short"]);
    assert!(verdicts[..4].iter().chain(&verdicts[7..]).all(|v| ["viral", "nonviral"].contains(v)));
    assert_eq!(column(&contigs, "length_nt")[..3], ["1200", "90", "120"]);
    let counts = summary(&output)["counts"].clone();
    assert_eq!(counts["duplicate_ids"], 1);
    assert_eq!(counts["empty_ids"], 1);
    assert_eq!(counts["empty_records"], 1);
    assert_eq!(counts["too_short_records"], 1);
    assert_eq!(counts["letters"]["lower"], 100);
    assert_eq!(counts["letters"]["n"], 600);
    for what in ["no letters", "repeat an earlier id", "no id"] {
        assert!(run.stderr.contains(what), "{what}: {}", run.stderr);
    }
    assert_eq!(names(folder.path()), ["out"], "no file is named by a header");
    assert_eq!(names(&output), FILES);
}

#[test]
fn predict_empty_input_gives_tables_with_headers_alone() {
    let folder = tempfile::tempdir().unwrap();
    for case in ["nasty_empty_file", "nasty_blank_file", "nasty_no_orf"] {
        let output = folder.path().join(case);
        predict(&testdata(&format!("oracle/inputs/{case}.fa")), &output, &[]).ok();
        assert_eq!(
            read(output.join("prediction_results.txt")),
            "Sequence_ID\tPrediction\tscore1\tscore2\n"
        );
        let decisions = read(output.join("prediction_results_highestscore.csv"));
        assert_eq!(decisions, "Modified_ID\tIs_Virus\n");
        assert_eq!(read(output.join("viral.fasta")), "");
        let rows = read(output.join("contigs.tsv")).lines().count() - 1;
        assert_eq!(rows, if case == "nasty_no_orf" { 3 } else { 0 });
    }
}

#[test]
fn predict_json_prints_the_summary_alone() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let run = predict(&testdata("oracle/inputs/nasty_crlf.fa"), &output, &["--json"]).ok();
    let printed: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(printed, summary(&output));
    assert_eq!(printed["schema_version"], 2);
    assert_eq!(printed["settings"]["chunk_length_nt"], 500);
    assert_eq!(printed["precision"], "f32");
    let roles: Vec<_> =
        printed["model"]["parts"].as_array().unwrap().iter().map(|p| p["role"].clone()).collect();
    for role in ["protein_encoder", "nucleotide_encoder", "classifier"] {
        assert!(roles.contains(&role.into()), "{role}");
    }
    let stages: Vec<_> =
        printed["timings"].as_array().unwrap().iter().map(|t| t["stage"].clone()).collect();
    for stage in ["load_model", "verify_model", "embed_protein"] {
        assert!(stages.contains(&stage.into()), "{stage}");
    }
}

#[test]
fn predict_real_genome_matches_the_reference_scores() {
    let Some(genome) = shared("fixtures/oracle_visible/inputs/crAssphage.fa") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    predict(&genome, &output, &[]).ok();
    let expected = read(shared("fixtures/golden/mini/crAssphage_L500.scores.tsv").unwrap());
    let found = read(output.join("prediction_results.txt"));
    assert_eq!(column(&found, "Sequence_ID"), column(&expected, "Sequence_ID"));
    for score in ["score1", "score2"] {
        for (a, b) in column(&found, score).iter().zip(column(&expected, score)) {
            let (a, b): (f64, f64) = (a.parse().unwrap(), b.parse().unwrap());
            assert!((a - b).abs() < 1e-4, "{score}: {a} and {b}");
        }
    }
    let contigs = read(output.join("contigs.tsv"));
    assert_eq!(column(&contigs, "verdict"), ["viral"]);
    assert_eq!(column(&contigs, "chunks"), ["195"]);
    let fasta = read(output.join("viral.fasta"));
    let letters: usize = fasta.lines().skip(1).map(str::len).sum();
    assert_eq!(letters, 97_065);
}
