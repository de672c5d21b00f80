//! Owns reading NPY matrices of floats into f32.

use super::{
    MAGIC,
    header::{self, Header},
};
use crate::{Array2, Error, Result};
use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

/// Headers of real matrices have about a hundred bytes.
const MAX_HEADER_BYTES: usize = 64 * 1024;

/// Reads a matrix of features from an NPY file (versions 1 to 3; f16, f32 or f64,
/// little-endian, C order), as f32.
///
/// # Shape
/// `[rows, cols]` as in the file.
///
/// # Errors
/// [`Error::Read`] where the file cannot be read, [`Error::Array`] where it is no NPY
/// file, holds another kind of array, or its size differs from what the header says
/// (checked before anything is allocated).
pub fn read_npy(path: impl AsRef<Path>) -> Result<Array2> {
    let path = path.as_ref();
    let read = |source: io::Error| Error::Read { path: path.to_owned(), source };
    let wrong = |reason: String| Error::Array { path: path.to_owned(), reason };

    let file = File::open(path).map_err(read)?;
    let file_bytes = file.metadata().map_err(read)?.len();
    let mut reader = BufReader::with_capacity(256 * 1024, file);
    let (header, data_start_bytes) = match read_header(&mut reader) {
        Ok(Ok(found)) => found,
        Ok(Err(reason)) => return Err(wrong(reason)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(wrong(format!("the NPY header is cut off (file of {file_bytes} bytes)")));
        }
        Err(error) => return Err(read(error)),
    };
    let (rows, cols, element) = accept(&header).map_err(wrong)?;
    let data_bytes = file_bytes.saturating_sub(data_start_bytes);
    let expected_bytes = (rows as u64)
        .checked_mul(cols as u64)
        .and_then(|values| values.checked_mul(element.bytes() as u64))
        .filter(|&bytes| usize::try_from(bytes).is_ok());
    if expected_bytes != Some(data_bytes) {
        return Err(wrong(format!(
            "the header says {rows} x {cols} values of {} bytes, but {data_bytes} bytes follow it",
            element.bytes()
        )));
    }
    let data = read_values(&mut reader, rows * cols, element).map_err(read)?;
    Ok(Array2 { rows, cols, data })
}

#[derive(Clone, Copy)]
enum Element {
    F16,
    F32,
    F64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
            Self::F64 => 8,
        }
    }
}

type Parsed = Result<(Header, u64), String>;

fn read_header(reader: &mut impl Read) -> io::Result<Parsed> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if &start[..6] != MAGIC {
        return Ok(Err("not an NPY file (wrong first bytes)".to_owned()));
    }
    let (header_bytes, start_bytes) = match start[6] {
        1 => {
            let mut length = [0; 2];
            reader.read_exact(&mut length)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            reader.read_exact(&mut length)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => return Ok(Err(format!("NPY version {version} is not known"))),
    };
    if header_bytes > MAX_HEADER_BYTES {
        return Ok(Err(format!("the NPY header claims {header_bytes} bytes")));
    }
    let mut text = vec![0; header_bytes];
    reader.read_exact(&mut text)?;
    let parsed = match std::str::from_utf8(&text) {
        Ok(text) => header::parse(text),
        Err(_) => Err("the NPY header is not text".to_owned()),
    };
    Ok(parsed.map(|header| (header, (start_bytes + header_bytes) as u64)))
}

fn accept(header: &Header) -> Result<(usize, usize, Element), String> {
    let element = match header.descr.as_str() {
        "<f2" => Element::F16,
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        ">f2" | ">f4" | ">f8" => {
            return Err(format!("big-endian values ({}) are not supported", header.descr));
        }
        "|O" | "O" => return Err("arrays of Python objects are not supported".to_owned()),
        other => return Err(format!("element type {other:?}, expected <f4, <f8 or <f2")),
    };
    let &[rows, cols] = header.shape.as_slice() else {
        return Err(format!("expected two dimensions, the shape is {:?}", header.shape));
    };
    if header.fortran_order && rows > 1 && cols > 1 {
        return Err("Fortran order is not supported, save it with numpy.ascontiguousarray".into());
    }
    Ok((rows, cols, element))
}

fn read_values(reader: &mut impl Read, values: usize, element: Element) -> io::Result<Vec<f32>> {
    let mut data = Vec::with_capacity(values);
    let mut block = [0; 64 * 1024];
    let mut left_bytes = values * element.bytes();
    while left_bytes > 0 {
        let block = &mut block[..left_bytes.min(64 * 1024)];
        reader.read_exact(block)?;
        left_bytes -= block.len();
        match element {
            Element::F16 => data
                .extend(block.as_chunks().0.iter().map(|&b| half::f16::from_le_bytes(b).to_f32())),
            Element::F32 => data.extend(block.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
            Element::F64 => {
                data.extend(block.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32));
            }
        }
    }
    Ok(data)
}
