//! Checkpoints without files: random elements for measuring and testing.

use std::collections::BTreeMap;
use std::sync::Arc;

use half::f16;
use virnucpro_backend::DType;
use virnucpro_backend::selftest::Random;

use super::{Checkpoint, Format};
use crate::bytes::Bytes;
use crate::error::{Result, WeightsError};
use crate::stored_tensor::StoredTensor;

/// Elements between the starts of neighbouring tensors in the common pool; a prime, so that rows
/// of different tensors do not coincide.
const STEP_ELEMENTS: usize = 1_000_003;

/// What the elements of a tensor look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RandomKind {
    /// Normal around 0, as weights are initialised.
    Weight,
    /// Normal around 0, a tenth as wide, as biases are.
    Bias,
    /// Uniform around 1, as the scale of a norm is.
    Scale,
}

/// A tensor that a random checkpoint is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RandomTensor {
    /// Its name.
    pub name: String,
    /// Its extents.
    pub shape: Vec<usize>,
    /// Its elements.
    pub kind: RandomKind,
}

impl Checkpoint {
    /// A checkpoint of f16 tensors with random elements of standard deviation `deviation`.
    ///
    /// Tensors of a kind share one pool of numbers as large as the largest of them, so a model of
    /// many gigabytes takes tens of megabytes of memory.
    ///
    /// # Errors
    /// Extents whose product does not fit the address space.
    pub fn random(
        source: &str,
        tensors: &[RandomTensor],
        deviation: f32,
        seed: u64,
    ) -> Result<Self> {
        let refused = |what: String| WeightsError::NotAStateDict { file: source.to_owned(), what };
        let elements = |tensor: &RandomTensor| -> Result<usize> {
            let product = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            product.ok_or_else(|| refused(format!("shape {:?} is too large", tensor.shape)))
        };
        let mut largest: BTreeMap<RandomKind, usize> = BTreeMap::new();
        for tensor in tensors {
            let size = largest.entry(tensor.kind).or_default();
            *size = elements(tensor)?.max(*size);
        }
        let mut random = Random::new(seed);
        let mut pool = |kind: RandomKind, count: usize| -> Bytes {
            let mut value = || match kind {
                RandomKind::Weight => random.normal() as f32 * deviation,
                RandomKind::Bias => random.normal() as f32 * (deviation * 0.1),
                RandomKind::Scale => 1.0 + random.value(0.1),
            };
            let bytes: Vec<u8> =
                (0..count).flat_map(|_| f16::from_f32(value()).to_le_bytes()).collect();
            Bytes::from(bytes)
        };
        // Twice as long, so that tensors can start at different places.
        let pools: BTreeMap<RandomKind, Bytes> =
            largest.iter().map(|(&kind, &count)| (kind, pool(kind, 2 * count))).collect();
        let mut named = BTreeMap::new();
        for (number, tensor) in tensors.iter().enumerate() {
            let (count, most) = (elements(tensor)?, largest[&tensor.kind]);
            let first = number * STEP_ELEMENTS % most.max(1);
            let bytes = pools[&tensor.kind].slice(2 * first..2 * (first + count));
            let bytes = bytes.ok_or_else(|| refused("the pool is too small".to_owned()))?;
            let stored = StoredTensor::contiguous(DType::F16, tensor.shape.clone(), bytes);
            named.insert(tensor.name.clone(), Arc::new(stored.map_err(refused)?));
        }
        Ok(Self {
            source: source.to_owned(),
            format: Format::Safetensors,
            files: Vec::new(),
            tensors: named,
            metadata: BTreeMap::new(),
            root: None,
            classes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], kind: RandomKind) -> RandomTensor {
        RandomTensor { name: name.to_owned(), shape: shape.to_vec(), kind }
    }

    #[test]
    fn random_tensors_have_their_shapes_and_spread_and_repeat_from_the_seed() {
        let wanted = [
            tensor("a", &[100, 50], RandomKind::Weight),
            tensor("b", &[100, 50], RandomKind::Weight),
            tensor("norm", &[300], RandomKind::Scale),
        ];
        let made = || Checkpoint::random("random", &wanted, 0.02, 7).unwrap();
        let (checkpoint, again) = (made(), made());
        let values = |c: &Checkpoint, name: &str| c.get(name).unwrap().to_f32_vec().unwrap();
        for RandomTensor { name, shape, .. } in &wanted {
            assert_eq!(checkpoint.tensor(name).unwrap().shape(), shape);
            assert_eq!(values(&checkpoint, name), values(&again, name));
        }
        let (a, b) = (values(&checkpoint, "a"), values(&checkpoint, "b"));
        assert_ne!(a, b);
        let deviation = (a.iter().map(|v| v * v).sum::<f32>() / a.len() as f32).sqrt();
        assert!((deviation / 0.02 - 1.0).abs() < 0.05, "{deviation}");
        // A normal variable is as often within its deviation; a uniform one 58 % of the time.
        let within = a.iter().filter(|v| v.abs() < 0.02).count() as f32 / a.len() as f32;
        assert!((within - 0.683).abs() < 0.03, "{within}");
        // Between 0.9 and 1.1 as they are stored: the first lies a little further from 1 than 0.1.
        let [least, most] = [0.9, 1.1].map(|v| f16::from_f32(v).to_f32());
        assert!(values(&checkpoint, "norm").iter().all(|v| (least..=most).contains(v)));
    }
}
