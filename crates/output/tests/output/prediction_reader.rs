use virnucpro_output::{Consensus, Prediction, PredictionReader, PredictionRow, Result};

const HEADER: &str = "Sequence_ID\tPrediction\tscore1\tscore2\n";

fn read(text: &[u8]) -> Result<Vec<PredictionRow>> {
    PredictionReader::new(text, "in/table.txt")?.collect()
}

fn message(text: &[u8]) -> String {
    let message = read(text).unwrap_err().to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn body(rows: &str) -> Vec<u8> {
    format!("{HEADER}{rows}").into_bytes()
}

#[test]
fn reader_both_number_texts_are_read() {
    let rows = read(&body(
        "a_chunk_1F1\tvirus\t0.12100612\t0.8789939\nb_chunk_1R3\tothers\t0.12100530415773392\t1e-04\n",
    ))
    .unwrap();
    assert_eq!(rows[0].prediction, Prediction::Virus);
    assert_eq!(rows[0].score2, 0.8789939);
    assert_eq!(rows[1].id, "b_chunk_1R3");
    assert_eq!((rows[1].score1, rows[1].score2), (0.12100530415773392, 1e-4));
}

#[test]
fn reader_crlf_bom_blank_lines_and_no_final_newline_are_accepted() {
    let text = body("a_1F1\tvirus\t0.2\t0.8\n\nb_1F1\tothers\tnan\tnan");
    let plain = read(&text).unwrap();
    let mut windows = b"\xef\xbb\xbf".to_vec();
    windows.extend(String::from_utf8(text).unwrap().replace('\n', "\r\n").into_bytes());
    let windows = read(&windows).unwrap();
    assert_eq!(plain.len(), 2);
    assert_eq!(plain[0], windows[0]);
    assert_eq!(plain[1].id, windows[1].id);
    assert!(windows[1].score2.is_nan());
}

#[test]
fn reader_header_only_has_no_rows() {
    assert!(read(HEADER.as_bytes()).unwrap().is_empty());
    assert!(read(HEADER.trim_end().as_bytes()).unwrap().is_empty());
}

#[test]
fn reader_quotes_in_ids_are_plain_text() {
    let rows = read(&body("\"a\"_1F1\tvirus\t0.2\t0.8\nb\"_1F1\tvirus\t0.2\t0.8\n")).unwrap();
    assert_eq!(rows[0].id, "\"a\"_1F1");
    assert_eq!(rows[1].id, "b\"_1F1");
}

#[test]
fn reader_wrong_header_is_named() {
    let expected = "in/table.txt line 1: expected the header \
                    \"Sequence_ID\\tPrediction\\tscore1\\tscore2\", found \"id\\tx\"";
    assert_eq!(message(b"id\tx\n"), expected);
    assert!(message(b"").starts_with("in/table.txt line 1: the file is empty"));
    assert!(message(b"\x1f\x8b\x08\0\n").contains("line 1: expected the header"));
}

#[test]
fn reader_bad_rows_are_named_by_line() {
    let good = "a_1F1\tvirus\t0.2\t0.8\n";
    for (row, expected) in [
        ("a\tvirus\t0.2", "line 3: expected 4 tab-separated columns, found 3"),
        ("a_1F1\tvirus\t0.2\t0.8\t", "line 3: expected 4 tab-separated columns, found 5"),
        ("a_1F1\tvirus\t0,2\t0.8", "line 3: score1 is \"0,2\", expected a number"),
        ("a_1F1\tvirus\t0.2\t", "line 3: score2 is \"\", expected a number"),
        ("a_1F1\tphage\t0.2\t0.8", "line 3: Prediction is \"phage\""),
        ("1\tvirus\t0.2\t0.8", "line 3: frame id \"1\" is shorter than two characters"),
        ("é\tvirus\t0.2\t0.8", "line 3: frame id \"é\" is shorter than two characters"),
    ] {
        let message = message(&body(&format!("{good}{row}\n")));
        assert!(message.contains(expected), "{message}");
    }
    let mut text = body(good);
    text.extend(b"ab\xffF1\tvirus\t0.2\t0.8\n");
    assert_eq!(message(&text), "in/table.txt line 3: not UTF-8 text (byte 2 of the line)");
}

#[test]
fn reader_blank_lines_count_in_line_numbers() {
    assert!(message(&body("\n\nbad\n")).contains("line 4:"));
}

#[test]
fn reader_stops_after_an_error() {
    let text = body("bad\na_1F1\tvirus\t0.2\t0.8\n");
    let mut rows = PredictionReader::new(text.as_slice(), "t").unwrap();
    assert!(rows.next().unwrap().is_err());
    assert!(rows.next().is_none());
}

#[test]
fn reader_line_without_end_is_refused_before_it_fills_memory() {
    let text = vec![b'A'; 17 << 20];
    assert!(message(&text).contains("line 1: the line is longer than"));
}

#[test]
fn consensus_missing_table_is_named() {
    let message =
        Consensus::from_table("no/such/table.txt", "decisions.csv").unwrap_err().to_string();
    assert!(message.starts_with("cannot read no/such/table.txt: "), "{message}");
}
