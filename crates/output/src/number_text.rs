//! Owns the text of numbers in result tables. Must not round or judge them.
//!
//! Entry functions: [`score_text`] and [`python_float_text`].

use std::{
    fmt::{self, Display, Formatter, LowerExp, Write},
    str::FromStr,
};

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
/// same f32 back, the nearest of them, the even one of two equally near.
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
        write_number(f, self.0, self.0.into())
    }
}

impl Display for PythonFloatText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_number(f, self.0, self.0)
    }
}

/// Writes `number`, whose exact value is `value`.
fn write_number<T>(f: &mut Formatter<'_>, number: T, value: f64) -> fmt::Result
where
    T: Copy + LowerExp + FromStr + PartialEq,
{
    let size = value.abs();
    if value.is_nan() {
        f.write_str("nan")
    } else if size.is_infinite() {
        f.write_str(if value > 0.0 { "inf" } else { "-inf" })
    } else {
        let text = shortest(number)?;
        if size == 0.0 || (POSITIONAL_FROM..POSITIONAL_UNTIL).contains(&size) {
            write_positional(f, text.as_str())
        } else {
            write_exponent(f, text.as_str())
        }
    }
}

/// The shortest digits in Rust's scientific notation, such as `-1.25e-7`.
///
/// Where two texts of that length are equally near, Rust takes the upper one and Python
/// and NumPy the one with the even last digit. Formatting to a fixed number of digits
/// breaks ties to even, so it decides, unless it left the number's rounding interval
/// (which is lopsided at powers of two).
fn shortest<T>(number: T) -> Result<ShortText, fmt::Error>
where
    T: Copy + LowerExp + FromStr + PartialEq,
{
    let mut text = ShortText::default();
    write!(text, "{number:e}")?;
    let digits = text.as_str().bytes().take_while(|&b| b != b'e').filter(u8::is_ascii_digit);
    let decimals = digits.count().saturating_sub(1);
    let mut nearest = ShortText::default();
    write!(nearest, "{number:.decimals$e}")?;
    let same = nearest.as_str().parse::<T>().is_ok_and(|parsed| parsed == number);
    Ok(if same { nearest } else { text })
}

/// Rewrites `1.25e-2` as `0.0125` and `1e2` as `100.0`.
fn write_positional(f: &mut Formatter<'_>, scientific: &str) -> fmt::Result {
    let (number, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
    let exponent: i32 = exponent.parse().map_err(|_| fmt::Error)?;
    let (sign, number) = match number.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", number),
    };
    let (first, rest) = number.split_once('.').unwrap_or((number, ""));
    f.write_str(sign)?;
    // At most 16 places either way, by the limits above.
    let places = exponent.unsigned_abs() as usize;
    if exponent < 0 {
        write!(f, "0.{:0<1$}{first}{rest}", "", places - 1)
    } else if let Some((whole, decimals)) = rest.split_at_checked(places)
        && !decimals.is_empty()
    {
        write!(f, "{first}{whole}.{decimals}")
    } else {
        write!(f, "{first}{rest:0<places$}.0")
    }
}

/// Rewrites `1e-5` as `1e-05`.
fn write_exponent(f: &mut Formatter<'_>, scientific: &str) -> fmt::Result {
    let (digits, exponent) = scientific.split_once('e').ok_or(fmt::Error)?;
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
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}
