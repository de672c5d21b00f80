use serde_json::{Value, json};
use std::path::PathBuf;
use virnucpro_output::{
    Consensus, ContigTable, Counts, Error, InputSummary, LetterCounts, ModelPart, ModelSummary,
    PredictionTable, SCHEMA_VERSION, StageTiming, Summary, Tool, Verdict, VerdictCounts,
};

fn summary() -> Summary {
    let mut contigs = VerdictCounts::default();
    for verdict in Verdict::ALL {
        contigs.add(verdict);
    }
    contigs.add(Verdict::Unreadable);
    let mut settings = serde_json::Map::new();
    settings.insert("chunk_length_nt".to_owned(), json!(500));
    Summary {
        schema_version: SCHEMA_VERSION,
        tool: Tool { name: "virnucpro".to_owned(), version: "0.1.0".to_owned() },
        settings,
        model: ModelSummary {
            name: "mini".to_owned(),
            parts: vec![ModelPart {
                role: "classifier_500".to_owned(),
                path: PathBuf::from("mini/500.safetensors"),
                sha256: "ab".repeat(32),
                parameters: 12,
            }],
        },
        precision: "f32".to_owned(),
        device: "cpu".to_owned(),
        inputs: vec![InputSummary {
            path: PathBuf::from("-"),
            sha256: "cd".repeat(32),
            bytes: 7,
            format: "fasta".to_owned(),
            compression: "none".to_owned(),
            records: 6,
            letters_nt: 99,
            dropped_lines: 2,
            byte_order_mark: true,
            repaired_headers: 1,
        }],
        counts: Counts {
            records: 6,
            letters: LetterCounts { acgt: 90, n: 9, ..LetterCounts::default() },
            contigs,
            ..Counts::default()
        },
        elapsed_ms: 20.5,
        timings: vec![StageTiming { stage: "read".to_owned(), elapsed_ms: 1.25 }],
        performance: serde_json::Map::from_iter([("tokens_per_s".to_owned(), json!(1024.0))]),
        warnings: vec!["-: a UTF-8 byte order mark was removed".to_owned()],
    }
}

/// A writer like a full disk.
struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn reports_full_disk_is_an_error_everywhere() {
    assert!(PredictionTable::new(Full).is_err());
    assert!(ContigTable::new(Full).is_err());
    assert!(Consensus::new("table").write(Full).is_err());
    assert!(summary().write(Full).is_err());
}

#[test]
fn error_can_cross_threads() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Error>();
}

#[test]
fn summary_comes_back_from_json() {
    let mut text = Vec::new();
    summary().write(&mut text).unwrap();
    assert_eq!(text.last(), Some(&b'\n'));
    assert_eq!(serde_json::from_slice::<Summary>(&text).unwrap(), summary());
}

#[test]
fn summary_schema_version_2_names_are_stable() {
    let value = serde_json::to_value(summary()).unwrap();
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let sorted = |text: &str| {
        let mut names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        names.sort();
        names
    };
    assert_eq!(value["schema_version"], 2);
    assert_eq!(
        names(&value),
        sorted(
            "schema_version tool settings model precision device inputs counts elapsed_ms \
             timings performance warnings"
        )
    );
    assert_eq!(
        names(&value["counts"]),
        sorted(
            "records empty_records too_short_records duplicate_ids empty_ids letters chunks \
             readable_chunks frames unknown_residues unknown_nucleotide_tokens protein_tokens \
             nucleotide_tokens protein_sequences_embedded nucleotide_sequences_embedded \
             unique_proteins unique_nucleotides fanned_out non_finite rows_written viral_chunks contigs"
        )
    );
    assert_eq!(names(&value["counts"]["letters"]), sorted("acgt n iupac other lower"));
    assert_eq!(value["counts"]["contigs"]["unreadable"], 2);
    assert_eq!(value["model"]["parts"][0]["sha256"], "ab".repeat(32));
    assert_eq!(value["settings"]["chunk_length_nt"], 500);
    assert_eq!(value["elapsed_ms"], 20.5);
    assert_eq!(value["performance"]["tokens_per_s"], 1024.0);
    assert_eq!(value["timings"][0], json!({"stage": "read", "elapsed_ms": 1.25}));
}

#[test]
fn summary_verdicts_add_up() {
    let contigs = summary().counts.contigs;
    assert_eq!(contigs.total(), 6);
    assert_eq!((contigs.viral, contigs.nonviral, contigs.too_short, contigs.empty), (1, 1, 1, 1));
}
