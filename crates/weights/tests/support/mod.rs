//! A pickle assembler and a zip writer that make whatever a test asks for, legal or not.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

use virnucpro_weights::{Bytes, Checkpoint, WeightsError};

/// Assembles pickle instructions.
#[derive(Clone, Default)]
pub(crate) struct Pickle(pub(crate) Vec<u8>);

impl Pickle {
    pub(crate) fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub(crate) fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    pub(crate) fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub(crate) fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |p, &v| p.int(v)).op(b"t")
    }

    pub(crate) fn storage(self, class: &str, key: &str, numel: i64) -> Self {
        self.op(b"(")
            .text("storage")
            .global("torch", class)
            .text(key)
            .text("cpu")
            .int(numel)
            .op(b"tQ")
    }

    /// `_rebuild_tensor_v2` over a storage of `numel` elements.
    pub(crate) fn tensor(
        self,
        class: &str,
        key: &str,
        numel: i64,
        layout: (i64, &[i64], &[i64]),
    ) -> Self {
        let (offset, size, stride) = layout;
        self.global("torch._utils", "_rebuild_tensor_v2")
            .op(b"(")
            .storage(class, key, numel)
            .int(offset)
            .ints(size)
            .ints(stride)
            .op(b"\x89")
            .global("collections", "OrderedDict")
            .op(b")RtR")
    }

    pub(crate) fn stop(self) -> Vec<u8> {
        self.op(b".").0
    }
}

/// One zip entry; sizes and method are written as given.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) method: u16,
    pub(crate) flags: u16,
    pub(crate) compressed_size: u32,
    pub(crate) size: u32,
    /// Where the directory says the entry starts, if not where it does.
    pub(crate) start: Option<u32>,
}

impl Entry {
    pub(crate) fn new(name: &str, data: &[u8]) -> Self {
        let size = data.len() as u32;
        Self {
            name: name.to_owned(),
            data: data.to_vec(),
            method: 0,
            flags: 0,
            compressed_size: size,
            size,
            start: None,
        }
    }
}

/// Writes a zip file.
pub(crate) fn zip(entries: &[Entry]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut directory = Vec::new();
    for e in entries {
        let start = e.start.unwrap_or(out.len() as u32);
        let mut common = Vec::new();
        common.extend(20u16.to_le_bytes());
        common.extend(e.flags.to_le_bytes());
        common.extend(e.method.to_le_bytes());
        common.extend([0; 8]);
        common.extend(e.compressed_size.to_le_bytes());
        common.extend(e.size.to_le_bytes());
        common.extend((e.name.len() as u16).to_le_bytes());
        common.extend(0u16.to_le_bytes());
        out.extend(b"PK\x03\x04");
        out.extend(&common);
        out.extend(e.name.as_bytes());
        out.extend(&e.data);
        directory.extend(b"PK\x01\x02");
        directory.extend(20u16.to_le_bytes());
        directory.extend(&common);
        directory.extend([0; 10]);
        directory.extend(start.to_le_bytes());
        directory.extend(e.name.as_bytes());
    }
    let directory_start = out.len() as u32;
    out.extend(&directory);
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((entries.len() as u16).to_le_bytes());
    out.extend((directory.len() as u32).to_le_bytes());
    out.extend(directory_start.to_le_bytes());
    out.extend(0u16.to_le_bytes());
    out
}

/// A torch archive of one pickle and its storages.
pub(crate) fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries = vec![Entry::new("x/data.pkl", pickle), Entry::new("x/byteorder", b"little")];
    for (key, data) in storages {
        entries.push(Entry::new(&format!("x/data/{key}"), data));
    }
    entries.push(Entry::new("x/version", b"3\n"));
    zip(&entries)
}

pub(crate) fn open(bytes: Vec<u8>) -> Result<Checkpoint, WeightsError> {
    Checkpoint::from_bytes("evil.pth", Bytes::from(bytes))
}

/// The error of opening `bytes`, as one line that names the file and says `what`.
#[track_caller]
pub(crate) fn refused(bytes: Vec<u8>, what: &str) -> WeightsError {
    let error = open(bytes).expect_err("a hostile file must be refused");
    let line = error.to_string();
    assert!(line.starts_with("evil.pth: "), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.contains(what), "expected {what:?} in {line:?}");
    error
}

/// The error of opening an archive of `pickle` without storages.
#[track_caller]
pub(crate) fn pickle_refused(pickle: Pickle, what: &str) -> WeightsError {
    refused(archive(&pickle.stop(), &[]), what)
}

/// A safetensors file with this header text and data.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// A small archive that uses most of the grammar: a module with a shared, a transposed and an
/// integer tensor.
pub(crate) fn good_archive() -> Vec<u8> {
    let module = |p: Pickle, class: (&str, &str)| p.global(class.0, class.1).op(b")\x81");
    let p = module(Pickle::new(), ("__main__", "MLPClassifier")).op(b"}(");
    let p = p.text("_parameters").op(b"}").text("_buffers").op(b"}").text("_modules").op(b"}");
    let p = module(p.text("layer"), ("torch.nn.modules.linear", "Linear")).op(b"}(");
    let p = p.text("_parameters").op(b"}(");
    let p = p.text("weight").global("torch._utils", "_rebuild_parameter").op(b"(");
    let p = p.tensor("FloatStorage", "0", 6, (0, &[3, 2], &[1, 3])).op(b"q\x01\x88");
    let p = p.global("collections", "OrderedDict").op(b")RtR");
    let p = p.text("tied").op(b"h\x01").text("bias").op(b"Nu");
    let p = p.text("_buffers").op(b"}(").text("count");
    let p = p.tensor("LongStorage", "1", 1, (0, &[], &[])).text("cache").op(b"h\x01u");
    let p = p.text("_non_persistent_buffers_set").global("__builtin__", "set").op(b"](");
    let p = p.text("cache").op(b"e\x85R").text("_modules").op(b"}ub").op(b"sub");
    let floats: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    archive(&p.stop(), &[("0", &floats), ("1", &7i64.to_le_bytes())])
}

/// Rewrites a zip file made here with the 64-bit directory that files over 4 GiB have.
pub(crate) fn as_zip64(file: &[u8]) -> Vec<u8> {
    let u32_at = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let end = file.len() - 22;
    let count = u64::from(u16::from_le_bytes([file[end + 10], file[end + 11]]));
    let start = u32_at(end + 16) as usize;
    let mut out = file[..start].to_vec();
    let mut at = start;
    for _ in 0..count {
        let name_length = usize::from(u16::from_le_bytes([file[at + 28], file[at + 29]]));
        let mut header = file[at..at + 46].to_vec();
        header[20..28].fill(0xff);
        header[30..32].copy_from_slice(&28u16.to_le_bytes());
        header[42..46].fill(0xff);
        out.extend(header);
        out.extend(&file[at + 46..at + 46 + name_length]);
        out.extend([1, 0, 24, 0]);
        for field in [at + 24, at + 20, at + 42] {
            out.extend(u64::from(u32_at(field)).to_le_bytes());
        }
        at += 46 + name_length;
    }
    let (record, size) = (out.len() as u64, (out.len() - start) as u64);
    out.extend(b"PK\x06\x06");
    out.extend(44u64.to_le_bytes());
    out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    for field in [count, count, size, start as u64] {
        out.extend(field.to_le_bytes());
    }
    out.extend(b"PK\x06\x07\0\0\0\0");
    out.extend(record.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out.extend(b"PK\x05\x06\0\0\0\0");
    out.extend([0xff; 12]);
    out.extend([0, 0]);
    out
}
