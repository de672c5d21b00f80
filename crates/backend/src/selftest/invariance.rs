//! The same rows in other company must have the same bits.

use super::Bench;
use super::cases::{RAGGED, SHORT, attended, bytes, multiplied, multiplied_and_rotated, view};
use super::random::Packed;
use crate::{AttentionSpec, Backend, BackendError, Epilogue, RotarySpec};

impl<B: Backend> Bench<'_, B> {
    pub(super) fn linear_invariance(&mut self) -> Result<(), BackendError> {
        for (inputs, outputs) in [(192, 576), (768, 3072), (2560, 320)] {
            let rows = 700;
            let x = self.values(rows * inputs, 1.0);
            let weights = bytes(&self.values(outputs * inputs, 0.05));
            let bias = bytes(&self.values(outputs, 0.5));
            let layer = self.backend.linear_weights(
                &[view(&weights, &[outputs, inputs])],
                &[view(&bias, &[outputs])],
            )?;
            let run = |first: usize, count: usize| -> Result<Vec<f32>, BackendError> {
                let x = &x[first * inputs..(first + count) * inputs];
                let x = self.backend.activation(count, inputs, x)?;
                let mut out = self.backend.scratch(count, outputs)?;
                self.backend.linear(&x, &layer, Epilogue::Store, &mut out)?;
                self.backend.download(&out)
            };
            let together = run(0, rows)?;
            let mut results = vec![(run(0, rows)?, 0)];
            for (first, count) in [(0, 1), (5, 1), (699, 1), (3, 64), (100, 129), (650, 50)] {
                results.push((run(first, count)?, first));
            }
            for (alone, first) in results {
                let count = alone.len() / outputs;
                let name = format!("{count} of {rows} rows from {first}, {inputs} x {outputs}");
                let expected = &together[first * outputs..(first + count) * outputs];
                self.same("same bits: linear", name, &alone, expected, outputs);
            }
        }
        // With a GELU, which some devices fuse with the product.
        let (rows, inputs, outputs) = (700, 320, 512);
        let x = self.values(rows * inputs, 1.0);
        let weights = bytes(&self.values(outputs * inputs, 0.05));
        let bias = bytes(&self.values(outputs, 0.5));
        let (weights, bias) = ([view(&weights, &[outputs, inputs])], [view(&bias, &[outputs])]);
        let run = |first: usize, count: usize| {
            let x = &x[first * inputs..(first + count) * inputs];
            multiplied(
                self.backend,
                x,
                &weights,
                &bias,
                Epilogue::Gelu,
                &vec![0.0; count * outputs],
            )
        };
        let together = run(0, rows)?;
        let mut parts = Vec::new();
        for (first, count) in [(0, 1), (699, 1), (5, 64), (100, 129), (444, 256)] {
            parts.push((run(first, count)?, first, count));
        }
        for (alone, first, count) in parts {
            let name = format!("{count} of {rows} rows from {first} with a GELU");
            let expected = &together[first * outputs..(first + count) * outputs];
            self.same("same bits: linear", name, &alone, expected, outputs);
        }
        // A residual that is added must not make a difference either.
        let (rows, inputs, outputs) = (130, 256, 64);
        let (x, before) = (self.values(rows * inputs, 1.0), self.values(rows * outputs, 1.0));
        let weights = bytes(&self.values(outputs * inputs, 0.05));
        let weights = [view(&weights, &[outputs, inputs])];
        let add = Epilogue::Accumulate;
        let together = multiplied(self.backend, &x, &weights, &[], add, &before)?;
        let (x, before) = (&x[..3 * inputs], &before[..3 * outputs]);
        let few = multiplied(self.backend, x, &weights, &[], add, before)?;
        let name = "3 rows with a residual".to_owned();
        self.same("same bits: linear", name, &few, &together[..3 * outputs], outputs);
        Ok(())
    }

    /// Each sequence alone must have the bits that it has in a batch.
    pub(super) fn linear_rotary_invariance(&mut self) -> Result<(), BackendError> {
        let spec = RotarySpec { num_heads: 4, head_dim: 64, base: 10_000.0 };
        let (inputs, outputs) = (320, 3 * 4 * 64);
        let weights = bytes(&self.values(outputs * inputs, 0.05));
        let bias = bytes(&self.values(outputs, 0.5));
        let (weights, bias) = ([view(&weights, &[outputs, inputs])], [view(&bias, &[outputs])]);
        let parts: Vec<Vec<f32>> =
            RAGGED.iter().map(|&length| self.values(length * inputs, 1.0)).collect();
        let mut run = |lengths: &[usize], x: &[f32]| {
            let packed = Packed::random(lengths, 9, &mut self.random);
            multiplied_and_rotated(self.backend, &packed, x, &weights, &bias, spec)
        };
        let together = run(&RAGGED, &parts.concat())?;
        let mut alone = Vec::new();
        for (&length, x) in RAGGED.iter().zip(&parts) {
            alone.extend(run(&[length], x)?);
        }
        let name = format!("each alone, {inputs} to 4 heads of 64");
        self.same("same bits: linear_rotary", name, &alone, &together, outputs);
        Ok(())
    }

    pub(super) fn attention_invariance(&mut self) -> Result<(), BackendError> {
        const SLOPES: [f32; 2] = [0.5, 0.05];
        for (lengths, alibi_slopes) in [(&RAGGED[..], None), (&SHORT[..], Some(&SLOPES[..]))] {
            for head_dim in [16, 24, 32, 64, 80, 128] {
                let spec =
                    AttentionSpec { num_heads: 2, head_dim, softmax_scale: 0.2, alibi_slopes };
                self.attention_in_company(lengths, spec)?;
            }
        }
        Ok(())
    }

    /// Each sequence must have the same bits alone, in either order, and beside one more that is
    /// longer than those that some kernels take.
    fn attention_in_company(
        &mut self,
        lengths: &[usize],
        spec: AttentionSpec<'_>,
    ) -> Result<(), BackendError> {
        let (width, row) = (spec.num_heads * spec.head_dim, 3 * spec.num_heads * spec.head_dim);
        let parts: Vec<Vec<f32>> =
            lengths.iter().chain(&[193]).map(|&length| self.values(length * row, 1.0)).collect();
        let mut run = |order: &[usize]| -> Result<Vec<f32>, BackendError> {
            let lengths: Vec<_> = order.iter().map(|&s| parts[s].len() / row).collect();
            let packed = Packed::random(&lengths, 9, &mut self.random);
            let qkv: Vec<f32> = order.iter().flat_map(|&s| parts[s].iter().copied()).collect();
            attended(self.backend, &packed, spec, &qkv)
        };
        let order: Vec<usize> = (0..lengths.len()).collect();
        let backwards: Vec<usize> = order.iter().rev().copied().collect();
        let one_more: Vec<usize> = (0..parts.len()).collect();
        let (together, reversed, beside) = (run(&order)?, run(&backwards)?, run(&one_more)?);
        let alone = order.iter().map(|&s| run(&[s])).collect::<Result<Vec<_>, _>>()?;
        let mut end = reversed.len();
        let mut turned = Vec::with_capacity(end);
        for &length in lengths {
            turned.extend_from_slice(&reversed[end - length * width..end]);
            end -= length * width;
        }
        for (what, found) in [
            ("alone", &alone.concat()[..]),
            ("backwards", &turned),
            ("beside one more", &beside[..together.len()]),
        ] {
            let name = format!("{} sequences {what}, heads of {}", lengths.len(), spec.head_dim);
            self.same("same bits: attention", name, found, &together, width);
        }
        Ok(())
    }
}
