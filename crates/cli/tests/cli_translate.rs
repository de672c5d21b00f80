//! `translate` and `consensus` against the recorded outputs of the original tool.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::Path;

use common::{names, read, run, shared, testdata};

const FILES: [&str; 3] = ["chunked.fa", "identified_nucleotide.fa", "identified_protein.faa"];

/// Cases where we deliberately keep a record that the original tool loses.
const DIFFERENT: [&str; 2] = ["nasty_bom", "nasty_empty_sequence"];

fn check_translate(root: &Path) -> usize {
    let mut compared = 0;
    for case in names(&root.join("expected")) {
        if DIFFERENT.contains(&case.as_str()) {
            continue;
        }
        let input = root.join("inputs").join(format!("{case}.fa"));
        for length in ["300", "500"] {
            let folder = tempfile::tempdir().unwrap();
            let output = folder.path().join("new/folder");
            let args = ["translate", input.to_str().unwrap(), "--chunk-length", length, "-o"];
            run(&[&args[..], &[output.to_str().unwrap()]].concat()).ok();
            for file in FILES {
                let expected = root.join("expected").join(&case).join(format!("L{length}/{file}"));
                let expected = std::fs::read(expected).unwrap();
                let found = std::fs::read(output.join(file)).unwrap();
                assert!(found == expected, "{case} L{length} {file} differs");
                compared += 1;
            }
            assert_eq!(names(&output), FILES);
        }
    }
    compared
}

#[test]
fn translate_generated_cases_match_byte_for_byte() {
    assert!(check_translate(&testdata("oracle")) >= 19 * 6);
}

#[test]
fn translate_all_cases_of_the_shared_material_match_byte_for_byte() {
    let Some(root) = shared("fixtures/oracle_visible") else { return };
    assert!(check_translate(&root) >= 22 * 6);
}

#[test]
fn translate_two_inputs_one_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let output = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let inputs = ["nasty_crlf", "nasty_blank_lines"]
        .map(|case| testdata(&format!("oracle/inputs/{case}.fa")).to_str().unwrap().to_owned());
    let args = |inputs: &[&str], name: &str| {
        let mut args = vec!["translate".to_owned()];
        args.extend(inputs.iter().map(|&input| input.to_owned()));
        args.extend([
            "--chunk-length".into(),
            "300".into(),
            "-q".into(),
            "-o".into(),
            output(name),
        ]);
        args
    };
    let quiet = run(&args(&[&inputs[0], &inputs[1]], "both")).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    run(&args(&[&inputs[0]], "first")).ok();
    run(&args(&[&inputs[1]], "second")).ok();
    for file in FILES {
        let of = |name: &str| read(folder.path().join(name).join(file));
        assert_eq!(of("both"), of("first") + &of("second"), "{file}");
    }
}

fn check_consensus(root: &Path) -> usize {
    let mut compared = 0;
    for case in names(root) {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("decisions.csv");
        let table = root.join(&case).join("prediction_results.txt");
        let args = ["consensus", table.to_str().unwrap(), "-o", output.to_str().unwrap()];
        run(&args).ok();
        let expected = root.join(&case).join("prediction_results_highestscore.csv");
        assert_eq!(read(&output), read(expected), "{case}");
        compared += 1;
    }
    compared
}

#[test]
fn consensus_hand_made_tables_match_byte_for_byte() {
    assert_eq!(check_consensus(&testdata("tables/consensus")), 9);
}

#[test]
fn consensus_real_outputs_of_the_original_tool_match_byte_for_byte() {
    let Some(root) = shared("fixtures/reference_outputs") else { return };
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("decisions.csv");
    let table = root.join("prediction_results.txt");
    run(&["consensus", table.to_str().unwrap(), "-o", output.to_str().unwrap()]).ok();
    assert_eq!(read(&output), read(root.join("prediction_results_highestscore.csv")));
}

#[test]
fn consensus_bad_table_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("table.txt");
    let output = folder.path().join("out.csv");
    std::fs::write(&table, "Sequence_ID\tPrediction\tscore1\tscore2\na_chunk_1F1\tvirus\t0.1\tx\n")
        .unwrap();
    let args = ["consensus", table.to_str().unwrap(), "-o", output.to_str().unwrap()];
    run(&args).failed_with(&["table.txt", "2"]);
    assert_eq!(names(folder.path()), ["table.txt"]);
}
