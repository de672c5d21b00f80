//! A pickle assembler and a zip writer that make whatever a test asks for, legal or not.
#![allow(dead_code)]

use virnucpro_weights::{Bytes, Checkpoint, WeightsError};

/// Assembles pickle instructions.
#[derive(Clone, Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    pub fn new() -> Self {
        Self(vec![0x80, 2])
    }

    pub fn op(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    pub fn global(self, module: &str, name: &str) -> Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    pub fn text(self, text: &str) -> Self {
        self.op(b"X")
            .op(&(text.len() as u32).to_le_bytes())
            .op(text.as_bytes())
    }

    pub fn int(self, value: i64) -> Self {
        self.op(&[0x8a, 8]).op(&value.to_le_bytes())
    }

    pub fn ints(self, values: &[i64]) -> Self {
        values.iter().fold(self.op(b"("), |p, &v| p.int(v)).op(b"t")
    }

    pub fn storage(self, class: &str, key: &str, numel: i64) -> Self {
        self.op(b"(")
            .text("storage")
            .global("torch", class)
            .text(key)
            .text("cpu")
            .int(numel)
            .op(b"tQ")
    }

    /// `_rebuild_tensor_v2` over a storage of `numel` elements.
    pub fn tensor(self, class: &str, key: &str, numel: i64, layout: (i64, &[i64], &[i64])) -> Self {
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

    pub fn stop(self) -> Vec<u8> {
        self.op(b".").0
    }
}

/// One zip entry; sizes and method are written as given.
#[derive(Clone)]
pub struct Entry {
    pub name: String,
    pub data: Vec<u8>,
    pub method: u16,
    pub flags: u16,
    pub compressed_size: u32,
    pub size: u32,
    /// Where the directory says the entry starts, if not where it does.
    pub start: Option<u32>,
}

impl Entry {
    pub fn new(name: &str, data: &[u8]) -> Self {
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
pub fn zip(entries: &[Entry]) -> Vec<u8> {
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
pub fn archive(pickle: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut entries = vec![
        Entry::new("x/data.pkl", pickle),
        Entry::new("x/byteorder", b"little"),
    ];
    for (key, data) in storages {
        entries.push(Entry::new(&format!("x/data/{key}"), data));
    }
    entries.push(Entry::new("x/version", b"3\n"));
    zip(&entries)
}

pub fn open(bytes: Vec<u8>) -> Result<Checkpoint, WeightsError> {
    Checkpoint::from_bytes("evil.pth", Bytes::from(bytes))
}

/// The error of opening `bytes`, as one line that names the file and says `what`.
#[track_caller]
pub fn refused(bytes: Vec<u8>, what: &str) -> WeightsError {
    let error = open(bytes).expect_err("a hostile file must be refused");
    let line = error.to_string();
    assert!(line.starts_with("evil.pth: "), "{line}");
    assert!(!line.chars().any(char::is_control), "{line:?}");
    assert!(line.contains(what), "expected {what:?} in {line:?}");
    error
}

/// The error of opening an archive of `pickle` without storages.
#[track_caller]
pub fn pickle_refused(pickle: Pickle, what: &str) -> WeightsError {
    refused(archive(&pickle.stop(), &[]), what)
}

/// A safetensors file with this header text and data.
pub fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

/// A small archive that uses most of the grammar: a module with a shared, a transposed and an
/// integer tensor.
pub fn good_archive() -> Vec<u8> {
    let module = |p: Pickle, class: (&str, &str)| p.global(class.0, class.1).op(b")\x81");
    let p = module(Pickle::new(), ("__main__", "MLPClassifier")).op(b"}(");
    let p = p
        .text("_parameters")
        .op(b"}")
        .text("_buffers")
        .op(b"}")
        .text("_modules")
        .op(b"}");
    let p = module(p.text("layer"), ("torch.nn.modules.linear", "Linear")).op(b"}(");
    let p = p.text("_parameters").op(b"}(");
    let p = p
        .text("weight")
        .global("torch._utils", "_rebuild_parameter")
        .op(b"(");
    let p = p
        .tensor("FloatStorage", "0", 6, (0, &[3, 2], &[1, 3]))
        .op(b"q\x01\x88");
    let p = p.global("collections", "OrderedDict").op(b")RtR");
    let p = p.text("tied").op(b"h\x01").text("bias").op(b"Nu");
    let p = p.text("_buffers").op(b"}(").text("count");
    let p = p
        .tensor("LongStorage", "1", 1, (0, &[], &[]))
        .text("cache")
        .op(b"h\x01u");
    let p = p
        .text("_non_persistent_buffers_set")
        .global("__builtin__", "set")
        .op(b"](");
    let p = p
        .text("cache")
        .op(b"e\x85R")
        .text("_modules")
        .op(b"}ub")
        .op(b"sub");
    let floats: Vec<u8> = (0..6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    archive(&p.stop(), &[("0", &floats), ("1", &7i64.to_le_bytes())])
}
