use crate::testdata;
use proptest::prelude::*;
use virnucpro_output::{python_float_text, score_text};

#[test]
fn golden_f32_text() {
    let table = std::fs::read_to_string(testdata().join("f32_text.tsv")).unwrap();
    let mut rows = 0;
    for line in table.lines().skip(1) {
        let cells: Vec<&str> = line.split('\t').collect();
        let value = f32::from_bits(u32::from_str_radix(cells[0], 16).unwrap());
        assert_eq!(score_text(value).to_string(), cells[1], "table text of {}", cells[0]);
        assert_eq!(python_float_text(value.into()).to_string(), cells[2], "of {}", cells[0]);
        rows += 1;
    }
    assert_eq!(rows, 1712);
}

#[test]
fn score_text_below_exact_limit_has_exponent() {
    // The f32 nearest to 1e-4 is smaller than 1e-4; its upper neighbour is not.
    let nearest = 1e-4_f32;
    assert!(f64::from(nearest) < 1e-4);
    assert_eq!(score_text(nearest).to_string(), "1e-04");
    assert_eq!(score_text(nearest.next_up()).to_string(), "0.000100000005");
    assert_eq!(score_text(1e16).to_string(), "1e+16");
    assert_eq!(score_text(1e16_f32.next_down()).to_string(), "9999999000000000.0");
    assert_eq!(python_float_text(1e-4).to_string(), "0.0001");
    assert_eq!(python_float_text(1e-4_f64.next_down()).to_string(), "9.999999999999999e-05");
    assert_eq!(python_float_text(1e16).to_string(), "1e+16");
    assert_eq!(python_float_text(1e16_f64.next_down()).to_string(), "9999999999999998.0");
}

#[test]
fn score_text_tie_takes_even_digit() {
    // Both neighbours of seven digits and one decimal are 0.05 away.
    assert_eq!(score_text(2097152.0 + 0.25).to_string(), "2097152.2");
    assert_eq!(score_text(2097152.0 + 0.75).to_string(), "2097152.8");
    assert_eq!(
        python_float_text(f32::from_bits(0x443c_a225).into()).to_string(),
        "754.5335083007812"
    );
}

#[test]
fn score_text_power_of_two_stays_in_its_interval() {
    // The nearest text of eight digits, 1.2621774e-29, belongs to the f32 below.
    assert_eq!(score_text(f32::from_bits(0x0f80_0000)).to_string(), "1.2621775e-29");
    assert_eq!(python_float_text(2_f64.powi(-1017)).to_string(), "7.120236347223045e-307");
}

#[test]
fn score_text_special_values_follow_python() {
    assert_eq!(score_text(-0.0).to_string(), "-0.0");
    assert_eq!(score_text(-f32::NAN).to_string(), "nan");
    assert_eq!(score_text(f32::NEG_INFINITY).to_string(), "-inf");
    assert_eq!(python_float_text(5e-324).to_string(), "5e-324");
    assert_eq!(python_float_text(-1.7976931348623157e308).to_string(), "-1.7976931348623157e+308");
}

fn is_python_number(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    match text.split_once('e') {
        Some((_, exponent)) => {
            exponent.starts_with(['+', '-'])
                && exponent.len() >= 3
                && exponent[1..].bytes().all(|byte| byte.is_ascii_digit())
        }
        None => text.contains('.'),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn prop_score_text_parses_back(bits in any::<u32>()) {
        let value = f32::from_bits(bits);
        let text = score_text(value).to_string();
        let back: f32 = text.parse().unwrap();
        if value.is_nan() {
            prop_assert_eq!(text, "nan");
        } else {
            prop_assert_eq!(back.to_bits(), bits, "{}", text);
            prop_assert!(value.is_infinite() || is_python_number(&text), "{}", text);
        }
    }

    #[test]
    fn prop_python_float_text_parses_back(bits in any::<u64>()) {
        let value = f64::from_bits(bits);
        let text = python_float_text(value).to_string();
        let back: f64 = text.parse().unwrap();
        prop_assert!(value.is_nan() || back.to_bits() == bits, "{}", text);
    }
}
