//! Linear layers behind a LayerNorm, which some devices make one.

use super::Bench;
use super::cases::{bytes, view};
use super::random::Packed;
use crate::{
    Backend, BackendError, Epilogue, NormWeights, NormedLinear, Precision, RotarySpec, TensorView,
};

const EPS: f32 = 1e-5;

/// Columns that kernels take at a time; what they find out of each must be told apart.
const TILE: usize = 64;

/// A LayerNorm and the layer behind it, as stored.
struct Stored {
    gamma: Vec<f32>,
    beta: Vec<f32>,
    weights: Vec<u8>,
    bias: Vec<u8>,
    inputs: usize,
    outputs: usize,
}

impl Stored {
    fn put<B: Backend>(&self, backend: &B) -> Result<NormedLinear<B>, BackendError> {
        let norm = NormWeights { gamma: &self.gamma, beta: &self.beta, eps: EPS };
        let weights = view(&self.weights, &[self.outputs, self.inputs]);
        backend.normed_linear_weights(norm, &[weights], &[view(&self.bias, &[self.outputs])])
    }
}

impl<B: Backend> Bench<'_, B> {
    fn stored(&mut self, inputs: usize, outputs: usize) -> Stored {
        let scale = (3.0 / inputs as f32).sqrt();
        Stored {
            gamma: self.values(inputs, 1.5),
            beta: self.values(inputs, 0.5),
            weights: bytes(&self.values(outputs * inputs, scale)),
            bias: bytes(&self.values(outputs, 0.5)),
            inputs,
            outputs,
        }
    }

    /// Rows of all sizes, around means that differ from tile to tile; those of every sixth row are
    /// some 2.5 times its deviation, if it has 256 columns.
    fn uneven(&mut self, rows: usize, cols: usize) -> Vec<f32> {
        let mut values = self.values(rows * cols, 1.0);
        for (at, value) in values.iter_mut().enumerate() {
            let (row, tile) = ((at / cols % 5) as f32, (at % cols / TILE) as f32 / 4.0);
            let mean = 0.4 * tile + if at / cols % 6 == 5 { 1.9 } else { 0.0 };
            *value = self.precision.round((*value * (1.0 + tile) + mean) * (0.1 + row));
        }
        values
    }

    pub(super) fn normed_linear(&mut self) -> Result<(), BackendError> {
        for (rows, inputs, outputs) in
            [(300, 768, 512), (5, 256, 256), (130, 1280, 256), (9, 96, 40)]
        {
            let stored = self.stored(inputs, outputs);
            let x = self.uneven(rows, inputs);
            for epilogue in [Epilogue::Gelu, Epilogue::Store] {
                let actual = normalised_and_multiplied(self.backend, &x, &stored, epilogue)?;
                let expected = normalised_and_multiplied(&self.twin, &x, &stored, epilogue)?;
                let name = format!("{epilogue:?} {rows} x {inputs} x {outputs}");
                self.compare("normed_linear", name, &actual, &expected, outputs);
            }
        }
        Ok(())
    }

    /// In halves, rows whose mean is many times their deviation may be given up, but not lose
    /// digits; alone and behind a residual addition.
    pub(super) fn normed_linear_far_means(&mut self) -> Result<(), BackendError> {
        let (rows, inputs, outputs) = (40, 512, 256);
        let stored = self.stored(inputs, outputs);
        let is_far = |row: usize| row % 3 == 1;
        let mut x = self.values(rows * inputs, 1.0);
        for (at, value) in x.iter_mut().enumerate() {
            let (row, column) = (at / inputs, at % inputs);
            let sign = if (column >> (row % 9)) % 2 == 0 { 1.0 } else { -1.0 };
            *value = self.precision.round(match row % 3 {
                0 => *value,
                1 => *value + 8.0,
                // A mean of 3.375 deviations must still be computed.
                _ => 1.6875 + 0.5 * sign,
            });
        }
        // A sum that is `x` itself, which is stored without rounding.
        let (nothing, weights) = (vec![0.0; rows * 256], bytes(&self.values(inputs * 256, 0.1)));
        let bias = bytes(&vec![0.0; inputs]);
        let first = (view(&weights, &[inputs, 256]), view(&bias, &[inputs]));
        for is_sum in [false, true] {
            let gelu = Epilogue::Gelu;
            let mut actual = if is_sum {
                added_and_normalised(self.backend, &nothing, &x, &first, &stored)?.1
            } else {
                normalised_and_multiplied(self.backend, &x, &stored, gelu)?
            };
            let expected = normalised_and_multiplied(&self.twin, &x, &stored, gelu)?;
            // Nothing is computed again in f32 itself.
            let may_give_up = |row: usize| self.precision != Precision::F32 && is_far(row);
            for row in (0..rows).filter(|&row| may_give_up(row)) {
                let columns = row * outputs..(row + 1) * outputs;
                if actual[columns.clone()].iter().all(|value| value.is_nan()) {
                    actual[columns.clone()].copy_from_slice(&expected[columns]);
                }
            }
            let behind = if is_sum { " behind a sum" } else { "" };
            let name =
                format!("means of 3.4 and 14 deviations{behind}, {rows} x {inputs} x {outputs}");
            self.compare("normed_linear", name, &actual, &expected, outputs);
        }
        Ok(())
    }

    pub(super) fn normed_linear_rotary(&mut self) -> Result<(), BackendError> {
        let packed = Packed::random(&[1, 130, 64, 3], 33, &mut self.random);
        for (num_heads, head_dim, inputs) in
            [(4, 64, 512), (4, 64, 256), (2, 128, 256), (2, 16, 96)]
        {
            let spec = RotarySpec { num_heads, head_dim, base: 10_000.0 };
            let outputs = 3 * num_heads * head_dim;
            let stored = self.stored(inputs, outputs);
            let x = self.uneven(packed.tokens(), inputs);
            let actual = normalised_and_rotated(self.backend, &packed, &x, &stored, spec)?;
            let expected = normalised_and_rotated(&self.twin, &packed, &x, &stored, spec)?;
            let name = format!("{inputs} to {num_heads} heads of {head_dim}");
            self.compare("normed_linear_rotary", name, &actual, &expected, outputs);
        }
        Ok(())
    }

    /// What a residual addition has found out of its rows must not outlive them.
    pub(super) fn overwritten_and_norm(&mut self) -> Result<(), BackendError> {
        let (rows, hidden, outputs) = (130, 256, 256);
        let x = self.values(rows * hidden, 1.0);
        let before: Vec<f32> = self.uneven(rows, hidden).iter().map(|value| 8.0 * value).collect();
        let second = self.stored(hidden, outputs);
        for over in [Over::Product, Over::Norm, Over::NormInPlace, Over::Gate] {
            let (over_it, actual) =
                overwritten_and_normalised(self.backend, over, &x, &before, &second)?;
            // The twin gets what the device has stored.
            let gelu = Epilogue::Gelu;
            let expected = normalised_and_multiplied(&self.twin, &over_it, &second, gelu)?;
            let name = format!("a residual overwritten: {over:?}");
            self.compare("linear, then normed_linear", name, &actual, &expected, outputs);
        }
        Ok(())
    }

    /// A residual addition and the norm that follows it; and the same in other company.
    pub(super) fn residual_and_norm(&mut self) -> Result<(), BackendError> {
        for (rows, inputs, hidden, outputs) in
            [(300, 256, 768, 512), (1, 1280, 256, 256), (70, 96, 96, 64), (257, 640, 1280, 256)]
        {
            let scale = (3.0 / inputs as f32).sqrt();
            let weights = bytes(&self.values(hidden * inputs, scale));
            let bias = bytes(&self.values(hidden, 0.5));
            let first = (view(&weights, &[hidden, inputs]), view(&bias, &[hidden]));
            let x = self.values(rows * inputs, 1.0);
            let before = self.uneven(rows, hidden);
            let second = self.stored(hidden, outputs);
            let (sum, actual) = added_and_normalised(self.backend, &x, &before, &first, &second)?;
            // The twin gets the sum that the device has stored.
            let gelu = Epilogue::Gelu;
            let expected = normalised_and_multiplied(&self.twin, &sum, &second, gelu)?;
            let name = format!("{rows} rows, {inputs} to {hidden} to {outputs}");
            self.compare("linear, then normed_linear", name, &actual, &expected, outputs);
            let (from, to) = (rows / 3, rows / 3 + rows.min(40));
            let (_, few) = added_and_normalised(
                self.backend,
                &x[from * inputs..to * inputs],
                &before[from * hidden..to * hidden],
                &first,
                &second,
            )?;
            let name = format!("{} of {rows} rows, {inputs} to {hidden} to {outputs}", to - from);
            let expected = &actual[from * outputs..to * outputs];
            self.same("same bits: linear, then normed_linear", name, &few, expected, outputs);
        }
        Ok(())
    }
}

/// What may be written over an activation that a residual was added to.
#[derive(Clone, Copy, Debug)]
enum Over {
    Product,
    Norm,
    NormInPlace,
    Gate,
}

/// What stands where the sum was, and the layer behind the norm of it.
fn overwritten_and_normalised<B: Backend>(
    backend: &B,
    over: Over,
    x: &[f32],
    before: &[f32],
    second: &Stored,
) -> Result<(Vec<f32>, Vec<f32>), BackendError> {
    let hidden = second.inputs;
    let rows = before.len() / hidden;
    // Weights of 2 on the diagonal of two squares, one above the other.
    let mut diagonal = vec![0.0; 2 * hidden * hidden];
    for i in 0..hidden {
        diagonal[i * hidden + i] = 2.0;
        diagonal[(hidden + i) * hidden + i] = 2.0;
    }
    let diagonal = bytes(&diagonal);
    let square =
        backend.linear_weights(&[view(&diagonal[..diagonal.len() / 2], &[hidden; 2])], &[])?;
    let wide = backend.linear_weights(&[view(&diagonal, &[2 * hidden, hidden])], &[])?;
    let layer = second.put(backend)?;
    let x = backend.activation(rows, hidden, x)?;
    let mut sum = backend.activation(rows, hidden, before)?;
    backend.linear(&x, &square, Epilogue::Accumulate, &mut sum)?;
    let mut scratch = backend.scratch(rows, hidden)?;
    let (gamma, beta) = (backend.vector(&second.gamma)?, backend.vector(&second.beta)?);
    match over {
        Over::Product => backend.linear(&x, &square, Epilogue::Store, &mut sum)?,
        Over::Norm => backend.layer_norm(&x, &gamma, &beta, EPS, &mut sum)?,
        Over::NormInPlace => backend.layer_norm_in_place(&mut sum, &gamma, &beta, EPS)?,
        Over::Gate => {
            let mut gated = backend.scratch(rows, 2 * hidden)?;
            backend.linear_gated(&x, &wide, &mut gated, &mut sum)?;
        }
    }
    let mut out = backend.scratch(rows, second.outputs)?;
    backend.normed_linear(&sum, &layer, Epilogue::Gelu, &mut scratch, &mut out)?;
    Ok((backend.download(&sum)?, backend.download(&out)?))
}

fn normalised_and_multiplied<B: Backend>(
    backend: &B,
    x: &[f32],
    stored: &Stored,
    epilogue: Epilogue,
) -> Result<Vec<f32>, BackendError> {
    let rows = x.len() / stored.inputs;
    let layer = stored.put(backend)?;
    let x = backend.activation(rows, stored.inputs, x)?;
    let mut normed = backend.scratch(rows, stored.inputs)?;
    // What is not written shows.
    let unwritten = vec![f32::NAN; rows * stored.outputs];
    let mut out = backend.activation(rows, stored.outputs, &unwritten)?;
    backend.normed_linear(&x, &layer, epilogue, &mut normed, &mut out)?;
    backend.download(&out)
}

fn normalised_and_rotated<B: Backend>(
    backend: &B,
    packed: &Packed,
    x: &[f32],
    stored: &Stored,
    spec: RotarySpec,
) -> Result<Vec<f32>, BackendError> {
    let rows = packed.tokens();
    let batch = backend.upload(packed.view()?)?;
    let layer = stored.put(backend)?;
    let x = backend.activation(rows, stored.inputs, x)?;
    let mut normed = backend.scratch(rows, stored.inputs)?;
    let mut qkv =
        backend.activation(rows, stored.outputs, &vec![f32::NAN; rows * stored.outputs])?;
    backend.normed_linear_rotary(&batch, &x, &layer, spec, &mut normed, &mut qkv)?;
    backend.download(&qkv)
}

/// The sum as stored, and the layer behind the norm of it.
fn added_and_normalised<B: Backend>(
    backend: &B,
    x: &[f32],
    before: &[f32],
    (weights, bias): &(TensorView<'_>, TensorView<'_>),
    second: &Stored,
) -> Result<(Vec<f32>, Vec<f32>), BackendError> {
    let rows = before.len() / second.inputs;
    let first =
        backend.linear_weights(std::slice::from_ref(weights), std::slice::from_ref(bias))?;
    let second_layer = second.put(backend)?;
    let x = backend.activation(rows, x.len() / rows, x)?;
    let mut hidden = backend.activation(rows, second.inputs, before)?;
    backend.linear(&x, &first, Epilogue::Accumulate, &mut hidden)?;
    let mut normed = backend.scratch(rows, second.inputs)?;
    let mut out = backend.scratch(rows, second.outputs)?;
    backend.normed_linear(&hidden, &second_layer, Epilogue::Gelu, &mut normed, &mut out)?;
    Ok((backend.download(&hidden)?, backend.download(&out)?))
}
