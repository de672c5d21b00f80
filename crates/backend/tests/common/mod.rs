//! Random ragged batches and weights shared by the backend tests.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use virnucpro_backend::cuda::{CudaBackend, CudaError, CudaOptions};
use virnucpro_backend::{DType, PackedView, Precision, TensorView};

/// A small deterministic generator (xorshift), so that failures repeat.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Uniform in `-scale..scale`.
    pub fn value(&mut self, scale: f32) -> f32 {
        ((self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
    }

    pub fn values(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.value(scale)).collect()
    }

    pub fn ids(&mut self, count: usize, vocab: u32) -> Vec<u32> {
        (0..count).map(|_| (self.next() % u64::from(vocab)) as u32).collect()
    }
}

/// Owned arrays of a packed batch.
pub struct Packed {
    pub input_ids: Vec<u32>,
    pub cu_seqlens: Vec<i32>,
    pub position_ids: Vec<u32>,
}

impl Packed {
    pub fn new(sequences: &[Vec<u32>]) -> Self {
        let mut packed = Self { input_ids: vec![], cu_seqlens: vec![0], position_ids: vec![] };
        for ids in sequences {
            packed.input_ids.extend(ids);
            packed.position_ids.extend(0..ids.len() as u32);
            packed.cu_seqlens.push(packed.input_ids.len() as i32);
        }
        packed
    }

    pub fn view(&self) -> PackedView<'_> {
        let longest = self.cu_seqlens.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        PackedView::new(&self.input_ids, &self.cu_seqlens, &self.position_ids, longest as usize)
            .expect("a valid batch")
    }

    pub fn tokens(&self) -> usize {
        self.input_ids.len()
    }
}

/// Little-endian bytes of f32 values.
pub fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// A view of f32 bytes.
pub fn view<'a>(bytes: &'a [u8], shape: &[usize]) -> TensorView<'a> {
    TensorView::new(DType::F32, shape.to_vec(), bytes).expect("lengths fit")
}

/// A backend on a GPU in this precision, if there is one that has it.
///
/// # Panics
/// Where a GPU is promised by `VIRNUCPRO_TEST_GPU=1` and is missing.
pub fn open_gpu(precision: Precision) -> Option<CudaBackend> {
    match CudaBackend::open(&CudaOptions { precision, ..CudaOptions::default() }) {
        Ok(backend) => Some(backend),
        Err(CudaError::Capability { .. }) => None,
        Err(error) if std::env::var_os("VIRNUCPRO_TEST_GPU").is_some() => panic!("{error}"),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}
