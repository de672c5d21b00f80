//! Random numbers and batches that repeat from a seed.

use crate::{BackendError, PackedView};

/// SplitMix64.
///
/// # Source
/// Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator that starts from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..1`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in `-scale..scale`.
    pub fn value(&mut self, scale: f32) -> f32 {
        (self.unit() * 2.0 - 1.0) as f32 * scale
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.unit(), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    /// Uniform in `0..below`, which is small beside 2⁶⁴.
    pub fn below(&mut self, below: u64) -> u64 {
        self.bits() % below
    }
}

/// Owned arrays of a packed batch.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    input_ids: Vec<u32>,
    cu_seqlens: Vec<i32>,
    position_ids: Vec<u32>,
    max_seqlen: usize,
}

impl Packed {
    pub(super) fn random(lengths: &[usize], vocab: u64, random: &mut Random) -> Self {
        let mut packed = Self {
            input_ids: Vec::new(),
            cu_seqlens: vec![0],
            position_ids: Vec::new(),
            max_seqlen: lengths.iter().copied().max().unwrap_or(0),
        };
        for &length in lengths {
            packed.input_ids.extend((0..length).map(|_| random.below(vocab) as u32));
            packed.position_ids.extend(0..length as u32);
            packed.cu_seqlens.push(packed.input_ids.len() as i32);
        }
        packed
    }

    pub(super) fn view(&self) -> Result<PackedView<'_>, BackendError> {
        PackedView::new(&self.input_ids, &self.cu_seqlens, &self.position_ids, self.max_seqlen)
    }

    pub(super) fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    /// The first token of every sequence, to be replaced.
    pub(super) fn first_tokens(&mut self) -> impl Iterator<Item = &mut u32> {
        let starts = &self.cu_seqlens[..self.cu_seqlens.len() - 1];
        let mut rest = &mut self.input_ids[..];
        let mut passed = 0;
        starts.iter().map(move |&start| {
            let here = std::mem::take(&mut rest);
            let (first, after) = here[start as usize - passed..].split_at_mut(1);
            passed = start as usize + 1;
            rest = after;
            &mut first[0]
        })
    }
}
