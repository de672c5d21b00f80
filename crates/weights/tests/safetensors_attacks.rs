//! Hostile safetensors files, and agreement with the reference reader.

mod support;

use proptest::prelude::*;
use support::{open, refused, safetensors};
use virnucpro_weights::WeightsError;

#[track_caller]
fn header_refused(header: &str, data: usize, what: &str) {
    refused(safetensors(header, &vec![0; data]), what);
}

#[test]
fn header_length_beyond_the_file_is_refused() {
    for length in [100u64, 1 << 20, 1 << 40, u64::MAX] {
        let mut file = length.to_le_bytes().to_vec();
        file.extend(b"{}");
        refused(file, "reaches beyond the end of the file (10 bytes)");
    }
}

#[test]
fn header_over_the_limit_is_refused() {
    let mut header = "{}".to_owned();
    header.extend(std::iter::repeat_n(' ', 100_000_000));
    header_refused(&header, 0, "is over 100000000");
}

#[test]
fn header_that_is_not_valid_is_refused() {
    let entry = |dtype: &str, shape: &str, offsets: &str| {
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for (header, what) in [
        ("{".to_owned(), "invalid JSON"),
        ("{}x".to_owned(), "invalid JSON"),
        (r#"{"w":1}"#.to_owned(), "tensor w: "),
        (r#"{"w":{"dtype":"F32","shape":[1]}}"#.to_owned(), "data_offsets"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), "expected a string"),
        (r#"{"__metadata__":{"a":"1","a":"2"}}"#.to_owned(), "a occurs twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), "__metadata__ occurs twice"),
        (entry("F32", "[-1]", "[0,4]"), "tensor w: "),
        (entry("F32", "[1.5]", "[0,4]"), "tensor w: "),
        (entry("F32", "[1]", "[0,-4]"), "tensor w: "),
        (entry("F32", "[2]", "[0,4]"), "shape [2] of F32 needs 8 bytes, the file gives 4"),
        (entry("F64", "[1]", "[0,4]"), "needs 8 bytes"),
        (entry("F32", "[0]", "[0,4]"), "needs 0 bytes"),
        (entry("F32", "[4611686018427387904,4]", "[0,4]"), "more bytes than can be counted"),
        (entry("F32", "[1]", "[0,8]"), "lie outside the 4 data bytes"),
        (entry("F32", "[1]", "[4,0]"), "lie outside"),
        (entry("F32", "[1]", "[18446744073709551612,18446744073709551615]"), "lie outside"),
        (entry("U8", "[2]", "[0,2]"), "the last 2 bytes of the file belong to no tensor"),
        (entry("U8", "[2]", "[2,4]"), "bytes 0..2 before it belong to no tensor"),
    ] {
        header_refused(&header, 4, what);
    }
}

#[test]
fn tensors_that_overlap_or_leave_holes_are_refused() {
    let two = |a: &str, b: &str| {
        format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":{a}}},"b":{{"dtype":"U8","shape":[4],"data_offsets":{b}}}}}"#
        )
    };
    assert!(open(safetensors(&two("[0,4]", "[4,8]"), &[0; 8])).is_ok());
    header_refused(&two("[0,4]", "[2,6]"), 6, "tensor b: data offsets 2..6 overlap");
    header_refused(&two("[0,4]", "[0,4]"), 4, "tensor b: data offsets 0..4 overlap");
    header_refused(&two("[0,4]", "[5,9]"), 9, "tensor b: bytes 4..5 before it");
    header_refused(&two("[0,4]", "[4,8]"), 9, "the last 1 bytes");
}

#[test]
fn repeated_name_is_refused() {
    let w = r#""w":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    header_refused(&format!("{{{w},{w}}}"), 0, "tensor w occurs twice");
}

#[test]
fn text_that_is_not_utf8_is_refused_at_its_byte() {
    let mut file = 4u64.to_le_bytes().to_vec();
    file.extend(b"{\"\xff}");
    refused(file, "byte 10 is not UTF-8");
}

#[test]
fn unsupported_element_type_names_the_tensor() {
    for dtype in ["I8", "U16", "U32", "U64", "F8_E4M3", "C64", "evil\\n"] {
        let header = format!(r#"{{"w.x":{{"dtype":"{dtype}","shape":[0],"data_offsets":[0,0]}}}}"#);
        let error = refused(safetensors(&header, &[]), "tensor w.x: element type ");
        assert!(matches!(error, WeightsError::UnsupportedDType { .. }));
    }
}

#[test]
fn names_with_control_characters_stay_on_one_line() {
    let header = r#"{"w\n\u001b[31m":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#;
    refused(safetensors(header, &[]), "tensor w\\n\\u{1b}[31m");
}

#[test]
fn deep_json_is_refused_without_a_stack_overflow() {
    let header = format!(r#"{{"w":{}"#, "[".repeat(1_000_000));
    header_refused(&header, 0, "invalid JSON");
    let header = format!(r#"{{"w":{{"x":{}"#, "{\"a\":".repeat(1_000_000));
    header_refused(&header, 0, "invalid JSON");
}

#[test]
fn file_cut_anywhere_is_an_error() {
    let header = r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    let good = safetensors(header, &[1; 8]);
    for cut in 0..good.len() {
        assert!(open(good[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    assert!(open(good).is_ok());
}

fn header_text() -> impl Strategy<Value = (String, usize)> {
    let dtype = prop_oneof![Just("F32"), Just("F16"), Just("U8"), Just("I64"), Just("I8")];
    let tensor = (dtype, prop::collection::vec(0usize..4, 0..3), -1i64..2, -1i64..2);
    (prop::collection::vec(tensor, 0..5), 0usize..2).prop_map(|(tensors, extra)| {
        let mut position = 0i64;
        let mut parts = Vec::new();
        for (i, (dtype, shape, shift, grow)) in tensors.iter().enumerate() {
            let width = match *dtype {
                "F32" => 4,
                "F16" => 2,
                "I64" => 8,
                _ => 1,
            };
            // Mostly right, sometimes off by one.
            let (shift, grow) = (shift / 2 * (i as i64 % 2), grow / 2 * (i as i64 % 3));
            let begin = (position + shift).max(0);
            let end = begin + (shape.iter().product::<usize>() * width) as i64 + grow;
            parts.push(format!(
                r#""t{}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{}]}}"#,
                i % 4,
                end.max(0)
            ));
            position = end.max(0);
        }
        (format!("{{{}}}", parts.join(",")), position as usize + extra / 2)
    })
}

proptest! {
    /// The reference reader accepts whatever this one accepts, and sees the same tensors.
    #[test]
    fn prop_accepted_files_are_accepted_by_the_reference((header, data) in header_text()) {
        let file = safetensors(&header, &vec![7; data]);
        let reference = ::safetensors::SafeTensors::deserialize(&file);
        match open(file.clone()) {
            Ok(ours) => {
                let theirs = reference.unwrap();
                prop_assert_eq!(ours.len(), theirs.len());
                for name in ours.names() {
                    let (a, b) = (ours.get(name).unwrap(), theirs.tensor(name).unwrap());
                    prop_assert_eq!(a.shape(), b.shape());
                    prop_assert_eq!(a.data(), b.data());
                }
            }
            // Stricter only where this says so.
            Err(WeightsError::UnsupportedDType { .. }) => {}
            Err(e) => prop_assert!(reference.is_err() || e.to_string().contains("twice"), "{}", e),
        }
    }

    #[test]
    fn prop_random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(bytes.clone());
        let mut header = (bytes.len() as u64).to_le_bytes().to_vec();
        header.push(b'{');
        header.extend(&bytes);
        let _ = open(header);
    }
}
