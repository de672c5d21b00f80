//! Speed of widening, in bytes read per second.

use divan::Bencher;
use divan::counter::BytesCount;
use virnucpro_backend::{DType, TensorView};
use virnucpro_weights::widen_into;

const ELEMENTS: usize = 16 << 20;

fn main() {
    divan::main();
}

#[divan::bench(args = [DType::F32, DType::F16, DType::BF16, DType::F64])]
fn widen(bencher: Bencher<'_, '_>, dtype: DType) {
    let bytes = vec![0x3c; ELEMENTS * dtype.size_bytes() + 1];
    // One byte off alignment, as in a file.
    let view = TensorView::new(dtype, vec![ELEMENTS], &bytes[1..]).expect("sized for it");
    let mut out = vec![0f32; ELEMENTS];
    bencher
        .counter(BytesCount::new(ELEMENTS * dtype.size_bytes()))
        .bench_local(|| widen_into(&view, &mut out).expect("a float type"));
}
