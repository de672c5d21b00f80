//! Owns the text of numbers in result tables. Must not round or judge them.
//!
//! Entry functions: [`score_text`] and [`python_float_text`].

use std::fmt::{self, Display, Formatter, Write};

/// Below this exact value (and above zero) numbers are written with an exponent.
const POSITIONAL_FROM: f64 = 1e-4;
/// From this exact value on numbers are written with an exponent.
const POSITIONAL_UNTIL: f64 = 1e16;

/// Displays a score the way the original tool's table does; see [`score_text`].
#[derive(Clone, Copy, Debug)]
pub struct ScoreText(f32);

/// Displays a number the way Python prints a float; see [`python_float_text`].
#[derive(Clone, Copy, Debug)]
pub struct PythonFloatText(f64);

/// The text of a score in `prediction_results.txt`: the shortest digits that give the
/// same f32 back.
///
/// Positional with at least one decimal from 1e-4 up to, not including, 1e16, otherwise
/// with an exponent of at least two digits. The f32 nearest to 1e-4 lies below 1e-4, so
/// it is `1e-04`.
///
/// ```
/// # use virnucpro_output::score_text;
/// assert_eq!(score_text(0.1).to_string(), "0.1");
/// assert_eq!(score_text(1.0).to_string(), "1.0");
/// assert_eq!(score_text(1e-4).to_string(), "1e-04");
/// ```
///
/// # Source
/// `str` of a NumPy `float32`, as written by Li-Jing-1997/VirNucPro@0f93f27:prediction.py.
#[must_use]
pub fn score_text(score: f32) -> ScoreText {
    ScoreText(score)
}

/// The text Python gives a float: the shortest digits that give the same f64 back.
///
/// # Source
/// `repr` of a Python float, which broadinstitute/virnucpro-broad@a8d3e4b writes for a
/// score widened from f32.
#[must_use]
pub fn python_float_text(value: f64) -> PythonFloatText {
    PythonFloatText(value)
}

impl Display for ScoreText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match notation(f64::from(self.0)) {
            Notation::Word(word) => f.write_str(word),
            Notation::Positional => write!(f, "{:?}", self.0),
            Notation::Exponent => write_exponent(f, format_args!("{:e}", self.0)),
        }
    }
}

impl Display for PythonFloatText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match notation(self.0) {
            Notation::Word(word) => f.write_str(word),
            Notation::Positional => write!(f, "{:?}", self.0),
            Notation::Exponent => write_exponent(f, format_args!("{:e}", self.0)),
        }
    }
}

enum Notation {
    Word(&'static str),
    Positional,
    Exponent,
}

fn notation(value: f64) -> Notation {
    let size = value.abs();
    if value.is_nan() {
        Notation::Word("nan")
    } else if size.is_infinite() {
        Notation::Word(if value > 0.0 { "inf" } else { "-inf" })
    } else if size == 0.0 || (POSITIONAL_FROM..POSITIONAL_UNTIL).contains(&size) {
        // Inside these limits `{:?}` is positional too, with its `.0`.
        Notation::Positional
    } else {
        Notation::Exponent
    }
}

/// Rewrites Rust's `1e-5` as `1e-05`.
fn write_exponent(f: &mut Formatter<'_>, number: fmt::Arguments<'_>) -> fmt::Result {
    let mut text = ShortText::default();
    text.write_fmt(number)?;
    let (digits, exponent) = text.as_str().split_once('e').ok_or(fmt::Error)?;
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(rest) => ('-', rest),
        None => ('+', exponent),
    };
    write!(f, "{digits}e{sign}{exponent:0>2}")
}

/// Room for the longest f64 in scientific notation (24 bytes), on the stack.
#[derive(Default)]
struct ShortText {
    bytes: [u8; 32],
    len: usize,
}

impl ShortText {
    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
