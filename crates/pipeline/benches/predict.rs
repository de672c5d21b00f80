//! End to end: FASTA to viral calls with the bundle inside the program.

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use divan::Bencher;
use divan::counter::ItemsCount;
use virnucpro_pipeline::{
    CancelToken, Device, DeviceConfig, Input, ModelChoice, Monitor, PredictConfig, TokenBudget,
    TranslateConfig, predict, translate,
};

/// Letters of the generated input.
const LETTERS: usize = 30_000;

/// Random contigs of 3,000 letters, rich in open frames.
fn fasta(folder: &Path) -> PathBuf {
    let mut state = 88_172_645_463_325_252u64;
    let mut text = String::new();
    for contig in 0..LETTERS / 3000 {
        let _ = writeln!(text, ">contig_{contig}");
        for _ in 0..3000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            // A and T are rare, so that most 500-nt chunks have several open frames.
            text.push(['C', 'G', 'A', 'T', 'G', 'C', 'G', 'C'][(state >> 40) as usize % 8]);
        }
        text.push('\n');
    }
    let path = folder.join("contigs.fa");
    std::fs::write(&path, text).expect("the temporary folder is writable");
    path
}

fn number(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).expect("not zero")
}

#[divan::bench(args = [1, 2], sample_count = 5, sample_size = 1)]
fn predict_mini(bencher: Bencher, threads: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = PredictConfig {
        inputs: vec![Input::from(&fasta(folder.path()))],
        output_dir: folder.path().join("out"),
        model: ModelChoice::Mini,
        chunk_length: number(500),
        threads: number(threads),
        min_length_nt: 0,
        token_budget: TokenBudget::Auto,
        dedup: true,
    };
    let device = Device::open(&DeviceConfig::cpu(threads)).expect("threads start");
    let cancel = CancelToken::default();
    bencher.counter(ItemsCount::new(LETTERS)).bench_local(|| {
        predict(&config, &device, &Monitor::disabled(), &cancel, &mut |_| {})
            .expect("the input is well formed")
    });
}

#[divan::bench(args = [1, 2], sample_count = 20, sample_size = 1)]
fn translate_only(bencher: Bencher, threads: usize) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = TranslateConfig {
        inputs: vec![Input::from(&fasta(folder.path()))],
        output_dir: folder.path().join("out"),
        chunk_length: number(500),
        threads: number(threads),
    };
    let cancel = CancelToken::default();
    bencher.counter(ItemsCount::new(LETTERS)).bench_local(|| {
        translate(&config, &cancel, &mut |_| {}).expect("the input is well formed")
    });
}

fn main() {
    println!("items are nucleotides of input");
    divan::main();
}
