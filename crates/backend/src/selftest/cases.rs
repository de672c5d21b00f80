//! The operations one by one, at and around every border of tiles and vectors.

use super::Bench;
use super::random::Packed;
use crate::{
    AttentionSpec, Backend, BackendError, DType, Epilogue, PoolSpec, Precision, RotarySpec,
    TensorView, TokenDropout,
};

/// Lengths around the borders of tiles: 16 rows of a warp, 64 of a block.
pub(super) const RAGGED: [usize; 14] = [1, 130, 2, 15, 16, 17, 31, 33, 63, 64, 65, 128, 129, 300];

/// Lengths around those of which a device keeps whole sequences, with every number of 16 keys.
pub(super) const SHORT: [usize; 20] =
    [65, 1, 176, 80, 64, 81, 17, 97, 112, 127, 128, 129, 40, 145, 160, 168, 192, 177, 161, 96];

/// f32 values as a stored tensor.
pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn view<'a>(bytes: &'a [u8], shape: &[usize]) -> TensorView<'a> {
    TensorView::new(DType::F32, shape.to_vec(), bytes).expect("the bytes were made for the shape")
}

impl<B: Backend> Bench<'_, B> {
    pub(super) fn embed(&mut self) -> Result<(), BackendError> {
        const MASK: u32 = 7;
        for (hidden, dropout, shifted) in
            [(2560, true, false), (321, true, true), (192, false, true), (12, false, false)]
        {
            let mut packed = Packed::random(&RAGGED, 33, &mut self.random);
            // No sequence may consist of masks alone.
            packed.first_tokens().for_each(|id| *id = 3);
            let table = bytes(&self.values(33 * hidden, 1.0));
            let shift = self.values(hidden, 1.0);
            let dropout =
                dropout.then_some(TokenDropout { mask_token_id: MASK, train_mask_ratio: 0.12 });
            let table = view(&table, &[33, hidden]);
            let shift = shifted.then_some(&shift[..]);
            let actual = embedded(self.backend, &packed, &table, shift, dropout)?;
            let expected = embedded(&self.twin, &packed, &table, shift, dropout)?;
            self.compare("embed", format!("width {hidden}"), &actual, &expected, hidden);
        }
        Ok(())
    }

    pub(super) fn layer_norm(&mut self) -> Result<(), BackendError> {
        for (rows, cols) in [(531, 2560), (64, 768), (7, 192), (100, 33), (3, 8200), (1, 64)] {
            let mut x = self.values(rows * cols, 3.0);
            // A large mean must cost no digits.
            x[..cols].iter_mut().for_each(|v| *v = self.precision.round(*v + 50.0));
            let (gamma, beta) = (self.values(cols, 1.0), self.values(cols, 1.0));
            let actual = normalised(self.backend, rows, cols, &x, &gamma, &beta, false)?;
            let in_place = normalised(self.backend, rows, cols, &x, &gamma, &beta, true)?;
            let expected = normalised(&self.twin, rows, cols, &x, &gamma, &beta, false)?;
            let name = format!("{rows} rows of {cols}");
            self.same("layer_norm", format!("{name}, in place"), &in_place, &actual, cols);
            self.compare("layer_norm", name, &actual, &expected, cols);
        }
        Ok(())
    }

    pub(super) fn linear(&mut self) -> Result<(), BackendError> {
        let epilogues = [Epilogue::Store, Epilogue::Accumulate, Epilogue::Gelu, Epilogue::Relu];
        // cuBLASLt takes no bf16 rows that are not aligned to 16 bytes, and no model has such.
        let odd = (self.precision != Precision::Bf16).then_some((9, 37, 51));
        // The last four are as wide and deep as fused kernels want them.
        let even = [
            (333, 192, 576),
            (130, 64, 256),
            (17, 768, 96),
            (1, 256, 64),
            (65, 40, 72),
            (300, 640, 128),
            (129, 256, 128),
            (257, 320, 128),
            (1, 1280, 256),
        ];
        for (rows, inputs, outputs) in even.into_iter().chain(odd) {
            // Sums of order 1 whatever their length.
            let scale = (3.0 / inputs as f32).sqrt();
            let x = self.values(rows * inputs, 1.0);
            let before = self.values(rows * 2 * outputs, 1.0);
            let weights = [(); 2].map(|()| bytes(&self.values(outputs * inputs, scale)));
            let biases = [(); 2].map(|()| bytes(&self.values(outputs, 0.5)));
            let weights = [0, 1].map(|i: usize| view(&weights[i], &[outputs, inputs]));
            let biases = [0, 1].map(|i: usize| view(&biases[i], &[outputs]));
            for epilogue in epilogues {
                let biases = if epilogue == Epilogue::Store { &[][..] } else { &biases };
                let actual = multiplied(self.backend, &x, &weights, biases, epilogue, &before)?;
                let expected = multiplied(&self.twin, &x, &weights, biases, epilogue, &before)?;
                let name = format!("{epilogue:?} {rows} x {inputs} x {}", 2 * outputs);
                self.compare("linear", name, &actual, &expected, 2 * outputs);
            }
        }
        Ok(())
    }

    pub(super) fn rotary(&mut self) -> Result<(), BackendError> {
        for (num_heads, head_dim) in [(4, 64), (3, 16), (2, 24), (5, 32), (1, 80), (2, 128)] {
            let lengths = [1, 64, 1500, 3];
            let packed = Packed::random(&lengths, 33, &mut self.random);
            let (rows, cols) = (packed.tokens(), 3 * num_heads * head_dim);
            let qkv = self.values(rows * cols, 1.0);
            let spec = RotarySpec { num_heads, head_dim, base: 10_000.0 };
            let actual = rotated(self.backend, &packed, spec, &qkv)?;
            let expected = rotated(&self.twin, &packed, spec, &qkv)?;
            let name = format!("{num_heads} heads of {head_dim}");
            self.compare("rotary", name, &actual, &expected, cols);
        }
        Ok(())
    }

    /// A layer of q, k and v that are rotated, which some devices do in one pass.
    pub(super) fn linear_rotary(&mut self) -> Result<(), BackendError> {
        let shapes =
            [(4, 64, 256), (8, 64, 640), (4, 64, 1280), (2, 64, 320), (4, 64, 64), (3, 32, 96)];
        for (num_heads, head_dim, inputs) in shapes {
            let packed = Packed::random(&[1, 130, 64, 3, 70], 33, &mut self.random);
            let outputs = num_heads * head_dim;
            let x = self.values(packed.tokens() * inputs, 1.0);
            let scale = (3.0 / inputs as f32).sqrt();
            let weights = [(); 3].map(|()| bytes(&self.values(outputs * inputs, scale)));
            let biases = [(); 3].map(|()| bytes(&self.values(outputs, 0.5)));
            let weights = [0, 1, 2].map(|i: usize| view(&weights[i], &[outputs, inputs]));
            let biases = [0, 1, 2].map(|i: usize| view(&biases[i], &[outputs]));
            let spec = RotarySpec { num_heads, head_dim, base: 10_000.0 };
            let actual =
                multiplied_and_rotated(self.backend, &packed, &x, &weights, &biases, spec)?;
            let expected =
                multiplied_and_rotated(&self.twin, &packed, &x, &weights, &biases, spec)?;
            let name = format!("{inputs} to {num_heads} heads of {head_dim}");
            self.compare("linear_rotary", name, &actual, &expected, 3 * outputs);
        }
        Ok(())
    }

    pub(super) fn attention(&mut self) -> Result<(), BackendError> {
        for head_dim in [16, 24, 32, 64, 80, 128] {
            for (lengths, alibi) in
                [(&RAGGED[..], false), (&RAGGED, true), (&SHORT, false), (&SHORT, true)]
            {
                let num_heads = 3;
                let packed = Packed::random(lengths, 33, &mut self.random);
                let qkv = self.values(packed.tokens() * 3 * num_heads * head_dim, 2.0);
                let slopes = [0.5, 0.25, 0.707];
                let spec = AttentionSpec {
                    num_heads,
                    head_dim,
                    softmax_scale: (head_dim as f32).sqrt().recip(),
                    alibi_slopes: alibi.then_some(&slopes[..]),
                };
                let actual = attended(self.backend, &packed, spec, &qkv)?;
                let expected = attended(&self.twin, &packed, spec, &qkv)?;
                let sequences = lengths.len();
                let slopes = if alibi { ", ALiBi" } else { "" };
                let name = format!("{sequences} sequences, heads of {head_dim}{slopes}");
                self.compare("attention", name, &actual, &expected, num_heads * head_dim);
            }
        }
        Ok(())
    }

    pub(super) fn gated_gelu(&mut self) -> Result<(), BackendError> {
        for (rows, width) in [(97, 3072), (5, 512), (11, 51)] {
            // The gate covers the whole bend of the GELU, the values keep results of order 1.
            let mut x = self.values(rows * 2 * width, 6.0);
            for value in x.chunks_exact_mut(2 * width).flat_map(|row| &mut row[width..]) {
                *value = self.precision.round(*value / 6.0);
            }
            let actual = gated(self.backend, rows, width, &x)?;
            let expected = gated(&self.twin, rows, width, &x)?;
            self.compare("gated_gelu", format!("{rows} x {width}"), &actual, &expected, width);
        }
        Ok(())
    }

    /// A layer and the gated GELU behind it, which some devices do in one pass.
    pub(super) fn linear_gated(&mut self) -> Result<(), BackendError> {
        for (rows, inputs, width) in
            [(300, 256, 384), (1, 768, 128), (129, 1280, 256), (40, 192, 128), (7, 40, 24)]
        {
            let scale = (3.0 / inputs as f32).sqrt();
            let x = self.values(rows * inputs, 1.0);
            let weights = bytes(&self.values(2 * width * inputs, scale));
            let weights = view(&weights, &[2 * width, inputs]);
            let actual = multiplied_and_gated(self.backend, &x, &weights)?;
            let expected = multiplied_and_gated(&self.twin, &x, &weights)?;
            let name = format!("{rows} x {inputs} x {width}");
            self.compare("linear_gated", name, &actual, &expected, width);
            let few = multiplied_and_gated(self.backend, &x[..rows.min(5) * inputs], &weights)?;
            let name = format!("{} of {rows} rows, {inputs} x {width}", rows.min(5));
            let together = &actual[..few.len()];
            self.same("same bits: linear_gated", name, &few, together, width);
        }
        Ok(())
    }

    pub(super) fn pool(&mut self) -> Result<(), BackendError> {
        let packed = Packed::random(&RAGGED, 33, &mut self.random);
        let mean = |skip_first, skip_last, max_tokens| PoolSpec::Mean {
            skip_first,
            skip_last,
            max_tokens,
        };
        for hidden in [2560, 192, 35] {
            let values = self.values(packed.tokens() * hidden, 2.0);
            let specs = [mean(1, 1, 1024), mean(0, 0, usize::MAX), mean(2, 0, 40), PoolSpec::First];
            for spec in specs {
                let actual = pooled(self.backend, &packed, spec, hidden, &values)?;
                let expected = pooled(&self.twin, &packed, spec, hidden, &values)?;
                let name = format!("{spec:?}, width {hidden}");
                self.compare("pool", name, &actual, &expected, hidden);
            }
        }
        Ok(())
    }

    pub(super) fn finite_rows(&mut self) -> Result<(), BackendError> {
        for cols in [16, 33, 192] {
            let mut values = self.values((cols + 2) * cols, 2.0);
            for (row, bad) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().enumerate() {
                values[row * 5 * cols + (row * 7) % cols] = bad;
            }
            let flags = |found: Vec<bool>| -> Vec<f32> {
                found.into_iter().map(|finite| if finite { 1.0 } else { 0.5 }).collect()
            };
            let x = self.backend.activation(cols + 2, cols, &values)?;
            let actual = flags(self.backend.finite_rows(&x)?);
            let x = self.twin.activation(cols + 2, cols, &values)?;
            let expected = flags(self.twin.finite_rows(&x)?);
            self.compare("finite_rows", format!("width {cols}"), &actual, &expected, 1);
        }
        Ok(())
    }
}

fn embedded<B: Backend>(
    backend: &B,
    packed: &Packed,
    table: &TensorView<'_>,
    shift: Option<&[f32]>,
    dropout: Option<TokenDropout>,
) -> Result<Vec<f32>, BackendError> {
    let batch = backend.upload(packed.view()?)?;
    let table = backend.table(table)?;
    let shift = shift.map(|shift| backend.vector(shift)).transpose()?;
    backend.download(&backend.embed(&batch, &table, shift.as_ref(), dropout)?)
}

fn normalised<B: Backend>(
    backend: &B,
    rows: usize,
    cols: usize,
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    in_place: bool,
) -> Result<Vec<f32>, BackendError> {
    let mut x = backend.activation(rows, cols, x)?;
    let (gamma, beta) = (backend.vector(gamma)?, backend.vector(beta)?);
    if in_place {
        backend.layer_norm_in_place(&mut x, &gamma, &beta, 1e-5)?;
        return backend.download(&x);
    }
    let mut out = backend.scratch(rows, cols)?;
    backend.layer_norm(&x, &gamma, &beta, 1e-5, &mut out)?;
    backend.download(&out)
}

pub(super) fn multiplied<B: Backend>(
    backend: &B,
    x: &[f32],
    weights: &[TensorView<'_>],
    biases: &[TensorView<'_>],
    epilogue: Epilogue,
    before: &[f32],
) -> Result<Vec<f32>, BackendError> {
    let inputs = weights[0].shape()[1];
    let outputs: usize = weights.iter().map(|weight| weight.shape()[0]).sum();
    let rows = x.len() / inputs;
    let layer = backend.linear_weights(weights, biases)?;
    let x = backend.activation(rows, inputs, x)?;
    let mut out = backend.activation(rows, outputs, before)?;
    backend.linear(&x, &layer, epilogue, &mut out)?;
    backend.download(&out)
}

fn rotated<B: Backend>(
    backend: &B,
    packed: &Packed,
    spec: RotarySpec,
    qkv: &[f32],
) -> Result<Vec<f32>, BackendError> {
    let batch = backend.upload(packed.view()?)?;
    let cols = 3 * spec.num_heads * spec.head_dim;
    let mut qkv = backend.activation(packed.tokens(), cols, qkv)?;
    backend.rotary(&batch, spec, &mut qkv)?;
    backend.download(&qkv)
}

pub(super) fn multiplied_and_rotated<B: Backend>(
    backend: &B,
    packed: &Packed,
    x: &[f32],
    weights: &[TensorView<'_>],
    biases: &[TensorView<'_>],
    spec: RotarySpec,
) -> Result<Vec<f32>, BackendError> {
    let (rows, cols) = (packed.tokens(), 3 * spec.num_heads * spec.head_dim);
    let batch = backend.upload(packed.view()?)?;
    let layer = backend.linear_weights(weights, biases)?;
    let x = backend.activation(rows, x.len() / rows, x)?;
    // What is not written shows.
    let mut qkv = backend.activation(rows, cols, &vec![f32::NAN; rows * cols])?;
    backend.linear_rotary(&batch, &x, &layer, spec, &mut qkv)?;
    backend.download(&qkv)
}

pub(super) fn attended<B: Backend>(
    backend: &B,
    packed: &Packed,
    spec: AttentionSpec<'_>,
    qkv: &[f32],
) -> Result<Vec<f32>, BackendError> {
    let width = spec.num_heads * spec.head_dim;
    let batch = backend.upload(packed.view()?)?;
    let qkv = backend.activation(packed.tokens(), 3 * width, qkv)?;
    // What is not written shows.
    let unwritten = vec![f32::NAN; packed.tokens() * width];
    let mut out = backend.activation(packed.tokens(), width, &unwritten)?;
    backend.attention(&batch, spec, &qkv, &mut out)?;
    backend.download(&out)
}

pub(super) fn gated<B: Backend>(
    backend: &B,
    rows: usize,
    width: usize,
    x: &[f32],
) -> Result<Vec<f32>, BackendError> {
    let x = backend.activation(rows, 2 * width, x)?;
    let mut out = backend.scratch(rows, width)?;
    backend.gated_gelu(&x, &mut out)?;
    backend.download(&out)
}

fn multiplied_and_gated<B: Backend>(
    backend: &B,
    x: &[f32],
    weights: &TensorView<'_>,
) -> Result<Vec<f32>, BackendError> {
    let (outputs, inputs) = (weights.shape()[0], weights.shape()[1]);
    let rows = x.len() / inputs;
    let layer = backend.linear_weights(std::slice::from_ref(weights), &[])?;
    let x = backend.activation(rows, inputs, x)?;
    let mut gated = backend.scratch(rows, outputs)?;
    // What is not written shows.
    let unwritten = vec![f32::NAN; rows * outputs / 2];
    let mut out = backend.activation(rows, outputs / 2, &unwritten)?;
    backend.linear_gated(&x, &layer, &mut gated, &mut out)?;
    backend.download(&out)
}

fn pooled<B: Backend>(
    backend: &B,
    packed: &Packed,
    spec: PoolSpec,
    hidden: usize,
    values: &[f32],
) -> Result<Vec<f32>, BackendError> {
    let batch = backend.upload(packed.view()?)?;
    let values = backend.activation(packed.tokens(), hidden, values)?;
    backend.download(&backend.pool(&batch, spec, &values)?)
}
