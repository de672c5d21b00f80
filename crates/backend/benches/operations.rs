//! Throughput of every operation of the CPU backend on the shapes of real models.
//!
//! Every batch holds about 4,096 tokens in ragged sequences of 30 to 168 tokens, the lengths of
//! metagenomic frames. Products (`linear`, `attention`) count floating point operations as items,
//! so that `Gitem/s` reads as GFLOP/s: two a multiply-add, the epilogue and softmax not counted.
//! Element-wise operations count the bytes they must read and write at least once.
//!
//! `cargo bench -p virnucpro-backend --bench operations -- linear` runs one group; the thread
//! count is the constant in the last column of names.

use std::fmt;
use std::hint::black_box;

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use virnucpro_backend::cpu::{CpuBackend, Matrix};
use virnucpro_backend::{
    AttentionSpec, Backend, DType, Epilogue, PackedView, PoolSpec, RotarySpec, TensorView,
    TokenDropout,
};

/// Tokens of a batch, before the last sequence is added whole.
const TOKENS: usize = 4096;

/// Sizes of one model.
#[derive(Clone, Copy)]
struct Model {
    name: &'static str,
    hidden_size: usize,
    num_heads: usize,
    intermediate_size: usize,
    vocab_size: usize,
}

const MINI_ESM2: Model = Model {
    name: "mini ESM-2",
    hidden_size: 192,
    num_heads: 6,
    intermediate_size: 768,
    vocab_size: 33,
};
const MINI_DNABERT_S: Model = Model {
    name: "mini DNABERT-S",
    hidden_size: 192,
    num_heads: 6,
    intermediate_size: 384,
    vocab_size: 2048,
};
const ESM2_650M: Model = Model {
    name: "ESM-2 650M",
    hidden_size: 1280,
    num_heads: 20,
    intermediate_size: 5120,
    vocab_size: 33,
};
const MODELS: [Model; 3] = [MINI_ESM2, MINI_DNABERT_S, ESM2_650M];

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Model {
    fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }
}

/// A linear layer of one of the models.
#[derive(Clone, Copy)]
struct Layer {
    name: &'static str,
    in_features: usize,
    out_features: usize,
    epilogue: Epilogue,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{} {:?}", self.name, self.in_features, self.out_features, self.epilogue)
    }
}

const fn layer(
    name: &'static str,
    in_features: usize,
    out_features: usize,
    epilogue: Epilogue,
) -> Layer {
    Layer { name, in_features, out_features, epilogue }
}

const LAYERS: [Layer; 11] = [
    layer("mini qkv", 192, 576, Epilogue::Store),
    layer("mini attention output", 192, 192, Epilogue::Accumulate),
    layer("mini fc1", 192, 768, Epilogue::Gelu),
    layer("mini fc1", 192, 768, Epilogue::Relu),
    layer("mini fc2", 768, 192, Epilogue::Accumulate),
    layer("mini DNABERT-S gated", 192, 768, Epilogue::Store),
    layer("mini DNABERT-S wo", 384, 192, Epilogue::Accumulate),
    layer("650M qkv", 1280, 3840, Epilogue::Store),
    layer("650M attention output", 1280, 1280, Epilogue::Accumulate),
    layer("650M fc1", 1280, 5120, Epilogue::Gelu),
    layer("650M fc2", 5120, 1280, Epilogue::Accumulate),
];

/// Deterministic values in -1..1.
fn values(count: usize) -> Vec<f32> {
    let mut state = 88_172_645_463_325_252u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Sequences of 30 to 168 tokens until `TOKENS` is reached.
struct Packed {
    input_ids: Vec<u32>,
    cu_seqlens: Vec<i32>,
    position_ids: Vec<u32>,
}

impl Packed {
    fn ragged(vocab_size: usize) -> Self {
        let mut packed = Self { input_ids: vec![], cu_seqlens: vec![0], position_ids: vec![] };
        for length in (0u32..).map(|i| 30 + (i * 53) % 139) {
            if packed.input_ids.len() >= TOKENS {
                break;
            }
            packed.input_ids.extend((0..length).map(|i| (i * 7 + length) % vocab_size as u32));
            packed.position_ids.extend(0..length);
            packed.cu_seqlens.push(packed.input_ids.len() as i32);
        }
        packed
    }

    fn view(&self) -> PackedView<'_> {
        let longest = self.cu_seqlens.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0);
        PackedView::new(&self.input_ids, &self.cu_seqlens, &self.position_ids, longest as usize)
            .expect("the arrays are made to fit")
    }

    fn tokens(&self) -> usize {
        self.input_ids.len()
    }

    fn score_count(&self) -> usize {
        self.cu_seqlens.windows(2).map(|w| ((w[1] - w[0]) as usize).pow(2)).sum()
    }
}

fn backend<const THREADS: usize>() -> CpuBackend {
    CpuBackend::new(THREADS).expect("threads start")
}

fn activation(backend: &CpuBackend, rows: usize, cols: usize) -> Matrix {
    backend.activation(rows, cols, &values(rows * cols)).expect("the length fits")
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn view<'a>(dtype: DType, shape: &[usize], data: &'a [u8]) -> TensorView<'a> {
    TensorView::new(dtype, shape.to_vec(), data).expect("the length fits")
}

fn f32_bytes(count: usize) -> BytesCount {
    BytesCount::new(4 * count)
}

#[divan::bench(args = LAYERS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn linear<const THREADS: usize>(bencher: Bencher, layer: Layer) {
    let Layer { in_features, out_features, epilogue, .. } = layer;
    let backend = backend::<THREADS>();
    let rows = Packed::ragged(33).tokens();
    let (weight, bias) = (bytes(&values(in_features * out_features)), bytes(&values(out_features)));
    let weight = view(DType::F32, &[out_features, in_features], &weight);
    let bias = view(DType::F32, &[out_features], &bias);
    let layer = backend.linear_weights(&[weight], &[bias]).expect("shapes fit");
    let x = activation(&backend, rows, in_features);
    let mut out = activation(&backend, rows, out_features);
    bencher
        .counter(ItemsCount::new(2 * rows * in_features * out_features))
        .bench_local(|| backend.linear(black_box(&x), &layer, epilogue, &mut out));
}

fn bench_attention<const THREADS: usize>(bencher: Bencher, model: Model, slopes: Option<&[f32]>) {
    let backend = backend::<THREADS>();
    let packed = Packed::ragged(33);
    let batch = backend.upload(packed.view()).expect("host memory");
    let spec = AttentionSpec {
        num_heads: model.num_heads,
        head_dim: model.head_dim(),
        softmax_scale: (model.head_dim() as f32).sqrt().recip(),
        alibi_slopes: slopes.map(|slopes| &slopes[..model.num_heads]),
    };
    let qkv = activation(&backend, packed.tokens(), 3 * model.hidden_size);
    let mut out = activation(&backend, packed.tokens(), model.hidden_size);
    bencher
        .counter(ItemsCount::new(4 * packed.score_count() * model.hidden_size))
        .bench_local(|| backend.attention(&batch, spec, black_box(&qkv), &mut out));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn attention<const THREADS: usize>(bencher: Bencher, model: Model) {
    bench_attention::<THREADS>(bencher, model, None);
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn attention_alibi<const THREADS: usize>(bencher: Bencher, model: Model) {
    let slopes: Vec<f32> = (0..32).map(|h| 0.7f32.powi(h + 1)).collect();
    bench_attention::<THREADS>(bencher, model, Some(&slopes));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn embed<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let packed = Packed::ragged(model.vocab_size);
    let batch = backend.upload(packed.view()).expect("host memory");
    let table = bytes(&values(model.vocab_size * model.hidden_size));
    let table = view(DType::F32, &[model.vocab_size, model.hidden_size], &table);
    let table = backend.table(&table).expect("two dimensions");
    let dropout = TokenDropout { mask_token_id: 32, train_mask_ratio: 0.12 };
    bencher
        .counter(f32_bytes(packed.tokens() * model.hidden_size))
        .bench_local(|| backend.embed(&batch, black_box(&table), None, Some(dropout)));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn layer_norm<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let (rows, cols) = (Packed::ragged(33).tokens(), model.hidden_size);
    let (gamma, beta) = (values(cols), values(cols));
    let x = activation(&backend, rows, cols);
    let mut out = activation(&backend, rows, cols);
    bencher
        .counter(f32_bytes(2 * rows * cols))
        .bench_local(|| backend.layer_norm(black_box(&x), &gamma, &beta, 1e-5, &mut out));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn layer_norm_in_place<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let (rows, cols) = (Packed::ragged(33).tokens(), model.hidden_size);
    let (gamma, beta) = (values(cols), values(cols));
    let mut x = activation(&backend, rows, cols);
    bencher
        .counter(f32_bytes(2 * rows * cols))
        .bench_local(|| backend.layer_norm_in_place(&mut x, &gamma, &beta, 1e-5));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn rotary<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let packed = Packed::ragged(33);
    let batch = backend.upload(packed.view()).expect("host memory");
    let spec =
        RotarySpec { num_heads: model.num_heads, head_dim: model.head_dim(), base: 10_000.0 };
    let mut qkv = activation(&backend, packed.tokens(), 3 * model.hidden_size);
    bencher
        .counter(f32_bytes(4 * packed.tokens() * model.hidden_size))
        .bench_local(|| backend.rotary(&batch, spec, &mut qkv));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn gated_gelu<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let (rows, cols) = (Packed::ragged(33).tokens(), model.intermediate_size);
    let x = activation(&backend, rows, 2 * cols);
    let mut out = activation(&backend, rows, cols);
    bencher
        .counter(f32_bytes(3 * rows * cols))
        .bench_local(|| backend.gated_gelu(black_box(&x), &mut out));
}

#[divan::bench(args = MODELS, consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn pool<const THREADS: usize>(bencher: Bencher, model: Model) {
    let backend = backend::<THREADS>();
    let packed = Packed::ragged(33);
    let batch = backend.upload(packed.view()).expect("host memory");
    let spec = PoolSpec::Mean { skip_first: 1, skip_last: 1, max_tokens: 1024 };
    let hidden = activation(&backend, packed.tokens(), model.hidden_size);
    bencher
        .counter(f32_bytes(packed.tokens() * model.hidden_size))
        .bench_local(|| backend.pool(&batch, spec, black_box(&hidden)));
}

/// Elements of the widening benchmark: one FFN weight of ESM-2 650M.
const WEIGHT_ELEMENTS: usize = 1280 * 5120;

#[divan::bench(
    args = [DType::F32, DType::F16, DType::BF16, DType::F64],
    consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3
)]
fn to_f32<const THREADS: usize>(bencher: Bencher, dtype: DType) {
    let backend = backend::<THREADS>();
    let data = vec![0x3Cu8; WEIGHT_ELEMENTS * dtype.size_bytes()];
    let tensor = view(dtype, &[WEIGHT_ELEMENTS], &data);
    bencher
        .counter(BytesCount::new(WEIGHT_ELEMENTS * (4 + dtype.size_bytes())))
        .bench_local(|| backend.install(|| black_box(&tensor).to_f32_vec()));
}

#[divan::bench(consts = [1, 2], sample_count = 15, sample_size = 1, min_time = 0.3)]
fn linear_weights<const THREADS: usize>(bencher: Bencher) {
    let backend = backend::<THREADS>();
    let data = bytes(&values(WEIGHT_ELEMENTS));
    let tensor = view(DType::F32, &[5120, 1280], &data);
    bencher
        .counter(f32_bytes(2 * WEIGHT_ELEMENTS))
        .bench_local(|| backend.linear_weights(&[black_box(&tensor).clone()], &[]));
}

fn main() {
    divan::main();
}
