//! Compressed inputs: every member, frame and stream is read, damage is an error with its place.
#![allow(clippy::unwrap_used, reason = "helpers of tests may fail loudly too")]

mod common;

use std::io::{Read, Write};

use common::{open_bytes, plain, read_bytes};
use flate2::write::GzEncoder;
use lzma_rust2::{XzOptions, XzWriter};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use virnucpro_seq::{Compression, SeqError};

/// FASTA text of several blocks, not too compressible.
fn text() -> Vec<u8> {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut text = Vec::new();
    for index in 0..40 {
        text.extend(format!(">contig{index} made up\n").bytes());
        for _ in 0..300 {
            for _ in 0..60 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                text.push(b"ACGT"[(seed % 4) as usize]);
            }
            text.push(b'\n');
        }
    }
    text
}

fn gzip(part: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(part).unwrap();
    encoder.finish().unwrap()
}

/// A bgzf block: a gzip member with its own size in an extra field.
fn bgzf_block(part: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(part).unwrap();
    let deflated = encoder.finish().unwrap();
    let mut crc = flate2::Crc::new();
    crc.update(part);
    let size = u16::try_from(18 + deflated.len() + 8 - 1).unwrap();
    let mut block = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, b'B', b'C', 2, 0];
    block.extend(size.to_le_bytes());
    block.extend(deflated);
    block.extend(crc.sum().to_le_bytes());
    block.extend(crc.amount().to_le_bytes());
    block
}

fn zstd(part: &[u8]) -> Vec<u8> {
    compress_to_vec(part, CompressionLevel::Fastest)
}

fn skippable_frame() -> Vec<u8> {
    let mut frame = vec![0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0];
    frame.extend(b"hello");
    frame
}

fn xz(part: &[u8]) -> Vec<u8> {
    let mut writer = XzWriter::new(Vec::new(), XzOptions::with_preset(1)).unwrap();
    writer.write_all(part).unwrap();
    writer.finish().unwrap()
}

/// Every kind of input made of three parts that end anywhere, also inside of lines.
fn kinds(text: &[u8]) -> Vec<(&'static str, Compression, Vec<u8>)> {
    let parts = [&text[..100_001], &text[100_001..100_003], &text[100_003..]];
    let join = |compress: fn(&[u8]) -> Vec<u8>| parts.map(compress).concat();
    let blocks = text.chunks(50_000).chain([&[][..]]).map(bgzf_block);
    vec![
        ("gzip members", Compression::Gzip, join(gzip)),
        ("bgzf", Compression::Gzip, blocks.collect::<Vec<_>>().concat()),
        ("zstd frames", Compression::Zstd, join(zstd)),
        (
            "zstd with skippable frames",
            Compression::Zstd,
            [skippable_frame(), join(zstd), skippable_frame()].concat(),
        ),
        ("xz streams", Compression::Xz, join(xz)),
    ]
}

#[test]
fn compressed_inputs_read_as_plain_ones() {
    let text = text();
    let (expected, _) = read_bytes(text.clone());
    assert_eq!(expected.len(), 40);
    for (kind, compression, bytes) in kinds(&text) {
        let length = bytes.len() as u64;
        let mut reader = open_bytes(bytes).unwrap();
        let records: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
        assert!(records == expected, "{kind}");
        let stats = reader.stats();
        assert_eq!((stats.compression, stats.bytes), (compression, length), "{kind}");
        assert_eq!(stats.sha256.len(), 64);
    }
}

#[test]
fn compressed_nothing_has_no_records() {
    for bytes in [gzip(b""), zstd(b""), xz(b""), skippable_frame()] {
        let (records, failure) = read_bytes(bytes);
        assert!(records.is_empty() && failure.is_none(), "{failure:?}");
    }
}

#[test]
fn truncated_streams_end_in_an_error_with_byte_offset() {
    let text = text();
    let (whole, _) = read_bytes(text.clone());
    for (kind, expected_compression, bytes) in kinds(&text) {
        for cut in [bytes.len() * 3 / 4, bytes.len() / 2, bytes.len() - 3, 11] {
            let (records, failure) = read_bytes(&bytes[..cut]);
            assert!(whole.starts_with(&records), "{kind} cut at {cut}: a record is not whole");
            let Some(SeqError::Decompress { compression, byte_offset, whole_records, .. }) =
                failure
            else {
                panic!("{kind} cut at {cut}: {failure:?}");
            };
            assert_eq!(compression, expected_compression);
            assert_eq!(byte_offset, cut as u64, "{kind} cut at {cut}");
            assert_eq!(whole_records, records.len() as u64, "{kind} cut at {cut}");
            assert!(cut < bytes.len() / 2 || whole_records > 10, "{kind}: {whole_records}");
        }
    }
}

#[test]
fn flipped_bit_is_an_error() {
    let text = text();
    for (kind, _, mut bytes) in kinds(&text) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        let (records, failure) = read_bytes(bytes);
        let failure = failure.unwrap_or_else(|| panic!("{kind}: damage went unnoticed"));
        let message = failure.to_string();
        assert!(message.starts_with("memory: truncated or corrupt"), "{kind}: {message}");
        assert!(!message.contains('\n'), "{message}");
        assert!(records.len() < 40, "{kind}");
    }
}

#[test]
fn zstd_wrong_checksum_is_an_error() {
    let mut bytes = zstd(b">a\nACGT\n");
    let has_checksum = bytes[4] & 4 != 0;
    assert!(has_checksum, "the encoder writes checksums");
    *bytes.last_mut().unwrap() ^= 1;
    let message = read_bytes(bytes).1.unwrap().to_string();
    assert!(message.contains("frame checksum is wrong"), "{message}");
}

#[test]
fn other_data_behind_a_stream_is_an_error() {
    for compress in [gzip, zstd, xz] {
        let bytes = [compress(b">a\nACGT\n>b\nAC\n"), b"rubbish!".to_vec()].concat();
        let (records, failure) = read_bytes(bytes);
        assert!(matches!(failure, Some(SeqError::Decompress { .. })), "{failure:?}");
        assert!(plain(&records).iter().all(|(id, _)| id == "a"));
    }
}

#[test]
fn sha256_is_that_of_the_stored_bytes() {
    use sha2::{Digest, Sha256};
    let bytes = [gzip(b">a\nACGT\n"), gzip(b">b\nAC\n")].concat();
    let digest = Sha256::digest(&bytes);
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut reader = open_bytes(bytes).unwrap();
    assert_eq!(reader.by_ref().count(), 2);
    assert_eq!(reader.stats().sha256, hex);
}

#[test]
fn gzip_inside_gzip_is_not_unpacked_twice() {
    let mut inner = Vec::new();
    flate2::read::GzEncoder::new(&gzip(b">a\nAC\n")[..], flate2::Compression::fast())
        .read_to_end(&mut inner)
        .unwrap();
    assert!(read_bytes(inner).1.is_some());
}
