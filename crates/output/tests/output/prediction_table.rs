use proptest::prelude::*;
use virnucpro_output::{Consensus, Prediction, PredictionTable, group_of_frame_id};

fn consensus_text(rows: &[(String, f64, f64)]) -> String {
    let mut consensus = Consensus::new("no/such/folder/table");
    for (id, score1, score2) in rows {
        consensus.push(id, *score1, *score2).unwrap();
    }
    let mut text = Vec::new();
    consensus.write(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn prediction_tie_is_others() {
    assert_eq!(Prediction::from_scores(0.5, 0.5), Prediction::Others);
    assert_eq!(Prediction::from_scores(0.5, 0.50000006), Prediction::Virus);
    assert_eq!(Prediction::from_scores(0.50000006, 0.5), Prediction::Others);
}

#[test]
fn prediction_nan_counts_as_largest() {
    assert_eq!(Prediction::from_scores(f32::NAN, f32::NAN), Prediction::Others);
    assert_eq!(Prediction::from_scores(f32::NAN, 1.0), Prediction::Others);
    assert_eq!(Prediction::from_scores(1.0, f32::NAN), Prediction::Virus);
}

#[test]
fn prediction_table_without_rows_is_header() {
    let table = PredictionTable::new(Vec::new()).unwrap();
    assert_eq!(table.into_inner(), b"Sequence_ID\tPrediction\tscore1\tscore2\n");
}

#[test]
fn prediction_table_counts_its_rows() {
    let mut table = PredictionTable::new(Vec::new()).unwrap();
    assert_eq!(table.push("a_chunk_1F1", 0.25, 0.75).unwrap(), Prediction::Virus);
    assert_eq!(table.push("a_chunk_1R2", 0.5, 0.5).unwrap(), Prediction::Others);
    assert_eq!((table.rows(), table.viral_rows()), (2, 1));
}

#[test]
fn prediction_table_id_with_tab_keeps_four_columns() {
    let mut table = PredictionTable::new(Vec::new()).unwrap();
    table.push("a\tb\n\r\\cF1", 1.0, 0.0).unwrap();
    let text = String::from_utf8(table.into_inner()).unwrap();
    assert_eq!(text.lines().nth(1), Some("a\\tb\\n\\r\\cF1\tothers\t1.0\t0.0"));
    assert_eq!(text.lines().count(), 2);
}

#[test]
fn group_of_frame_id_counts_characters_not_bytes() {
    assert_eq!(group_of_frame_id("x_chunk_12R3"), Some("x_chunk_12"));
    assert_eq!(group_of_frame_id("né😀"), Some("n"));
    assert_eq!(group_of_frame_id("F1"), Some(""));
    assert_eq!(group_of_frame_id("F"), None);
    assert_eq!(group_of_frame_id(""), None);
}

#[test]
fn consensus_short_id_is_refused() {
    let error = Consensus::new("table").push("x", 0.1, 0.9).unwrap_err();
    assert_eq!(error.to_string(), "frame id \"x\" is shorter than the two letters of a frame name");
}

#[test]
fn consensus_sorts_by_code_point() {
    let ids = ["é_1F1", "a_2F1", "a_10F1", "😀_1F1", "\u{ff5e}_1F1", "B_1F1"];
    let rows: Vec<_> = ids.iter().map(|id| ((*id).to_owned(), 1.0, 0.0)).collect();
    let text = consensus_text(&rows);
    let order: Vec<&str> =
        text.lines().skip(1).map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(order, ["B_1", "a_10", "a_2", "é_1", "\u{ff5e}_1", "😀_1"]);
}

#[test]
fn consensus_column_of_nan_is_false() {
    let row = |score1, score2| vec![("c_chunk_1F1".to_owned(), score1, score2)];
    for rows in [row(f64::NAN, f64::NAN), row(f64::NAN, 0.9), row(0.1, f64::NAN)] {
        assert_eq!(consensus_text(&rows), "Modified_ID\tIs_Virus\nc_chunk_1\tFalse\n");
    }
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![9 => (0_u8..=10).prop_map(|tenth| f64::from(tenth) / 10.0), 1 => Just(f64::NAN)]
}

proptest! {
    #[test]
    fn prop_consensus_ignores_row_order(
        (rows, shuffled) in prop::collection::vec(("[a-c]_chunk_[1-3][FR][1-3]", score(), score()), 0..40)
            .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
    ) {
        prop_assert_eq!(consensus_text(&rows), consensus_text(&shuffled));
    }

    #[test]
    fn prop_consensus_agrees_with_plain_maxima(
        scores in prop::collection::vec((score(), score()), 1..8)
    ) {
        let rows: Vec<_> =
            scores.iter().map(|&(s1, s2)| ("x_chunk_1F1".to_owned(), s1, s2)).collect();
        let largest = |column: Vec<f64>| {
            column.into_iter().filter(|score| !score.is_nan()).max_by(f64::total_cmp)
        };
        let others = largest(scores.iter().map(|pair| pair.0).collect());
        let virus = largest(scores.iter().map(|pair| pair.1).collect());
        let expected = match (others, virus) {
            (Some(others), Some(virus)) if virus >= others => "True",
            _ => "False",
        };
        let text = consensus_text(&rows);
        prop_assert_eq!(text.lines().nth(1).unwrap(), format!("x_chunk_1\t{expected}"));
    }
}
