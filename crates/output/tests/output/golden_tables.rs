//! Tables of the original tool, byte for byte.

use crate::{names_in, shared_fixtures, testdata};
use std::{fs, path::Path};
use virnucpro_output::{Consensus, PredictionReader, PredictionTable};

const TABLE: &str = "prediction_results.txt";
const DECISIONS: &str = "prediction_results_highestscore.csv";

/// The table written again from nothing but the ids and scores in it.
fn rewritten(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let mut table = PredictionTable::new(Vec::new()).unwrap();
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        table.push(cells[0], cells[2].parse().unwrap(), cells[3].parse().unwrap()).unwrap();
    }
    String::from_utf8(table.into_inner()).unwrap()
}

fn consensus_of(path: &Path) -> String {
    let mut text = Vec::new();
    let counts = Consensus::from_table(path, "decisions.csv").unwrap().write(&mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert_eq!(counts.chunks, text.lines().count() as u64 - 1);
    assert_eq!(counts.viral_chunks, text.lines().filter(|l| l.ends_with("\tTrue")).count() as u64);
    text
}

/// Checks both tables in a folder; the decisions only where they are comparable.
fn check_folder(folder: &Path, decisions: bool) {
    let table = folder.join(TABLE);
    let expected = fs::read_to_string(&table).unwrap();
    assert_eq!(rewritten(&table), expected, "{}", table.display());
    let read = PredictionReader::open(&table).unwrap().collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(read.len(), expected.lines().count() - 1, "{}", table.display());
    for (row, line) in read.iter().zip(expected.lines().skip(1)) {
        assert!(line.starts_with(&format!("{}\t{}\t", row.id, row.prediction)), "{line}");
    }
    if decisions {
        let expected = fs::read_to_string(folder.join(DECISIONS)).unwrap();
        assert_eq!(consensus_of(&table), expected, "{}", folder.display());
    }
}

fn check_expected(root: &Path) -> usize {
    let mut folders = 0;
    for case in names_in(root) {
        for length in names_in(&root.join(&case)) {
            let folder = root.join(&case).join(length);
            if folder.join(TABLE).is_file() {
                // The original joins rows at a quote; the right answer is tested below.
                check_folder(&folder, case != "nasty_quote_ids");
                folders += 1;
            }
        }
    }
    folders
}

fn check_consensus(root: &Path) -> usize {
    let cases = names_in(root);
    for case in &cases {
        check_folder(&root.join(case), true);
    }
    cases.len()
}

#[test]
fn golden_consensus_cases() {
    assert_eq!(check_consensus(&testdata().join("consensus")), 9);
}

#[test]
fn golden_expected_tables_of_generated_cases() {
    assert_eq!(check_expected(&testdata().join("expected")), 10);
}

#[test]
fn golden_quote_ids_are_plain_text() {
    let folder = testdata().join("expected/nasty_quote_ids");
    let expected = "Modified_ID\tIs_Virus\n\"both\"_chunk_1\tFalse\n\"dq_chunk_1\tTrue\n\
                    after_chunk_1\tFalse\nmid\"dle_chunk_1\tFalse\n";
    assert_eq!(consensus_of(&folder.join("L300").join(TABLE)), expected);
}

#[test]
fn golden_oracle_tables_in_shared() {
    let Some(fixtures) = shared_fixtures() else {
        return;
    };
    let oracle = fixtures.join("oracle_visible");
    assert_eq!(check_expected(&oracle.join("expected")), 16);
    assert_eq!(check_consensus(&oracle.join("consensus")), 9);
}

#[test]
fn golden_reference_outputs_in_shared() {
    let Some(fixtures) = shared_fixtures() else {
        return;
    };
    check_folder(&fixtures.join("reference_outputs"), true);
}
