//! Owns `prediction_results.txt`, one row per frame. Must not reorder or filter rows.
//!
//! Entry type: [`PredictionTable`]; its counterpart is
//! [`PredictionReader`](crate::PredictionReader).

use crate::{number_text::score_text, tsv::Cell};
use std::{
    fmt::{self, Display, Formatter},
    io::{self, Write},
};

/// First line of `prediction_results.txt`, without its line end.
pub const PREDICTION_HEADER: &str = "Sequence_ID\tPrediction\tscore1\tscore2";

/// Label of one frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Prediction {
    /// Not viral; index 0 of the classifier.
    Others,
    /// Viral; index 1 of the classifier.
    Virus,
}

impl Prediction {
    /// Index of the larger probability; a tie is `others`.
    ///
    /// A NaN counts as largest and the first one wins, so two NaN give `others` and a
    /// NaN in `score2` alone gives `virus`. A softmax never makes just one NaN.
    ///
    /// # Source
    /// argmax as used by Li-Jing-1997/VirNucPro@0f93f27:prediction.py.
    #[must_use]
    pub fn from_scores(score1: f32, score2: f32) -> Self {
        if !score1.is_nan() && (score2.is_nan() || score2 > score1) {
            Self::Virus
        } else {
            Self::Others
        }
    }

    /// Text in the `Prediction` column.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Others => "others",
            Self::Virus => "virus",
        }
    }

    pub(crate) fn from_text(text: &str) -> Option<Self> {
        [Self::Others, Self::Virus].into_iter().find(|label| label.as_str() == text)
    }
}

impl Display for Prediction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes `prediction_results.txt` in the original tool's bytes.
///
/// # Source
/// Li-Jing-1997/VirNucPro@0f93f27:prediction.py (table of `make_predictdata`).
#[derive(Debug)]
pub struct PredictionTable<W> {
    writer: W,
    rows: u64,
    viral_rows: u64,
}

impl<W: Write> PredictionTable<W> {
    /// Writes the header; a table without rows is complete.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn new(mut writer: W) -> io::Result<Self> {
        writeln!(writer, "{PREDICTION_HEADER}")?;
        Ok(Self { writer, rows: 0, viral_rows: 0 })
    }

    /// Adds one frame: `score1` is p(others), `score2` is p(virus). Returns its label.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn push(&mut self, frame_id: &str, score1: f32, score2: f32) -> io::Result<Prediction> {
        let label = Prediction::from_scores(score1, score2);
        writeln!(
            self.writer,
            "{}\t{label}\t{}\t{}",
            Cell(frame_id),
            score_text(score1),
            score_text(score2)
        )?;
        self.rows += 1;
        self.viral_rows += u64::from(label == Prediction::Virus);
        Ok(label)
    }

    /// Rows written.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows written with the label `virus`.
    #[must_use]
    pub fn viral_rows(&self) -> u64 {
        self.viral_rows
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.writer
    }
}
