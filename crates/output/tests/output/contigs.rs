use virnucpro_output::{BestScores, ContigRow, ContigTable, ContigVerdict, VERDICT_RULE, Verdict};

fn chunk(frames: &[(f64, f64)]) -> Option<BestScores> {
    let mut best = BestScores::new();
    for &(score1, score2) in frames {
        best.push(score1, score2);
    }
    Some(best)
}

fn row(chunks: &[Option<BestScores>]) -> ContigRow {
    let mut contig = ContigVerdict::new("contig", 900);
    for &best in chunks {
        contig.push_chunk(best);
    }
    contig.finish()
}

fn text(rows: &[ContigRow]) -> String {
    let mut table = ContigTable::new(Vec::new()).unwrap();
    for row in rows {
        table.push(row).unwrap();
    }
    assert_eq!(table.rows(), rows.len() as u64);
    String::from_utf8(table.into_inner()).unwrap()
}

#[test]
fn verdict_half_of_readable_chunks_is_viral() {
    let viral = chunk(&[(0.25, 0.75)]);
    let other = chunk(&[(0.75, 0.25)]);
    assert_eq!(row(&[viral, other]).verdict, Verdict::Viral);
    assert_eq!(row(&[viral, other, other]).verdict, Verdict::Nonviral);
    assert_eq!(row(&[viral, other, None, None, None]).verdict, Verdict::Viral);
    assert_eq!(row(&[viral, viral, other]).verdict, Verdict::Viral);
    assert_eq!(row(&[other]).verdict, Verdict::Nonviral);
}

#[test]
fn verdict_chunk_follows_best_scores_over_frames() {
    // Neither frame alone tips it: the best of each column decides, and a tie is viral.
    assert_eq!(row(&[chunk(&[(0.7, 0.3), (0.3, 0.7)])]).verdict, Verdict::Viral);
    assert_eq!(row(&[chunk(&[(0.75, 0.25), (0.3, 0.7)])]).verdict, Verdict::Nonviral);
    assert_eq!(row(&[chunk(&[(0.5, 0.5)])]).verdict, Verdict::Viral);
}

#[test]
fn verdict_without_readable_chunk_is_unreadable() {
    for row in [row(&[None, None]), row(&[])] {
        assert_eq!(row.verdict, Verdict::Unreadable);
        assert_eq!((row.viral_fraction, row.mean_score, row.max_score), (None, None, None));
    }
    assert_eq!(ContigVerdict::new("x", 0).finish().verdict, Verdict::Empty);
}

#[test]
fn verdict_numbers_are_over_readable_chunks() {
    let row = row(&[
        chunk(&[(0.25, 0.75), (0.5, 0.5)]),
        None,
        chunk(&[(0.75, 0.25)]),
        chunk(&[(f64::NAN, f64::NAN)]),
    ]);
    assert_eq!((row.chunks, row.readable_chunks, row.viral_chunks), (4, 3, 1));
    assert_eq!(row.viral_fraction, Some(1.0 / 3.0));
    assert_eq!(row.mean_score, Some(0.5));
    assert_eq!(row.max_score, Some(0.75));
}

#[test]
fn contig_table_rows_are_written_with_na() {
    let mut named = row(&[chunk(&[(0.75, 0.25)]), chunk(&[(0.25, f64::from(0.1_f32))]), None]);
    named.id = "../a/\"b\"".to_owned();
    let expected = "id\tlength_nt\tchunks\treadable_chunks\tviral_chunks\tviral_fraction\t\
                    mean_score\tmax_score\tverdict\n\
                    ../a/\"b\"\t900\t3\t2\t0\t0.0\t0.175\t0.25\tnonviral\n\
                    s\t20\t0\t0\t0\tNA\tNA\tNA\ttoo_short\n\
                    \t0\t0\t0\t0\tNA\tNA\tNA\tempty\n\
                    a\\tb\t900\t1\t0\t0\tNA\tNA\tNA\tunreadable\n";
    let mut unreadable = row(&[None]);
    unreadable.id = "a\tb".to_owned();
    let rows = [named, ContigRow::too_short("s", 20), ContigRow::empty(""), unreadable];
    assert_eq!(text(&rows), expected);
}

#[test]
fn verdict_rule_names_every_verdict_and_column() {
    for verdict in Verdict::ALL {
        assert!(VERDICT_RULE.contains(verdict.as_str()), "{verdict}");
    }
    for column in ["viral_fraction", "mean_score", "max_score"] {
        assert!(VERDICT_RULE.contains(column), "{column}");
    }
}
