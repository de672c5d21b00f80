//! What the host does with a GPU, on a device that computes nothing (`fake_cuda` of the backend's examples).
#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::path::PathBuf;

use common::{Run, program, read, run_command, testdata};
use tempfile::TempDir;

/// A folder with the fake libraries, a cache, and the device's report.
struct FakeGpu(TempDir);

impl FakeGpu {
    fn new() -> Self {
        let tests = std::env::current_exe().unwrap();
        let library = tests.ancestors().nth(2).unwrap().join("examples/libfake_cuda.so");
        let how = "build it: cargo build -p virnucpro-backend --example fake_cuda";
        assert!(library.exists(), "{} is not there; {how}", library.display());
        let folder = tempfile::tempdir().unwrap();
        for name in ["libcuda.so", "libnvrtc.so", "libcublasLt.so"] {
            std::os::unix::fs::symlink(&library, folder.path().join(name)).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs the program with a fake chip of this capability and memory.
    fn run(&self, capability: &str, bytes: usize, args: &[&str]) -> Run {
        let mut command = program();
        command
            .args(args)
            .env("LD_LIBRARY_PATH", self.0.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("FAKE_CUDA_CAPABILITY", capability)
            .env("FAKE_CUDA_BYTES", bytes.to_string())
            .env("FAKE_CUDA_REPORT", self.path("report"));
        run_command(&mut command)
    }

    /// A count of the last run, whose device was closed with all memory given back.
    fn count(&self, what: &str) -> u64 {
        let report: serde_json::Value = serde_json::from_str(&read(self.path("report"))).unwrap();
        assert_eq!((&report["used_bytes"], &report["pinned_bytes"]), (&0.into(), &0.into()));
        report[what].as_u64().unwrap()
    }
}

const GIB: usize = 1 << 30;

fn bench<'a>(model: &'a str, precision: &'a str, token_budget: &'a str) -> Vec<&'a str> {
    let mut args = vec!["bench", "--device", "cuda", "--model", model, "--precision", precision];
    args.extend(["--lengths", "proteome", "--tokens", "20000", "--token-budget", token_budget]);
    args.push("--json");
    args
}

#[test]
fn fake_gpu_is_listed_with_its_chip() {
    let found = FakeGpu::new().run("8.6", 24 * GIB, &["devices"]).ok();
    assert!(
        found.stdout.contains("Fake GPU, compute capability 8.6, 84 multiproc"),
        "{}",
        found.stdout
    );
    assert!(found.stdout.contains("24.0 of 24.0 GiB free"), "{}", found.stdout);
    assert!(found.stdout.contains("--device auto takes cuda:0"), "{}", found.stdout);
}

#[test]
fn fake_gpu_of_every_kind_takes_all_launches_and_gets_its_memory_back() {
    let gpu = FakeGpu::new();
    for capability in ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"] {
        // 8M has heads of 16; 650M heads of 64, and a width that suits the matrix kernels of Hopper.
        let of_esm2 = [("esm2-8m", "f16"), ("esm2-8m", "f32"), ("esm2-650m", "f16")];
        for (model, precision) in of_esm2.into_iter().chain([("dnabert-s", "f16")]) {
            let report =
                gpu.run(capability, 16 * GIB, &bench(model, precision, "4096")).ok().stdout;
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert!(report["tokens"].as_u64().unwrap() >= 20_000, "{capability}: {report}");
            assert!(gpu.count("launches") > 100);
            assert_eq!(gpu.count("refused"), 0);
        }
    }
}

#[test]
fn fake_gpu_is_not_trusted_because_it_computes_nothing() {
    let gpu = FakeGpu::new();
    let args = ["selftest", "--device", "cuda", "--precision", "f16"];
    gpu.run("9.0", 16 * GIB, &args).failed_with(&["checks missed"]);
}

#[test]
fn fake_gpu_with_little_memory_halves_its_budget_and_says_so() {
    let gpu = FakeGpu::new();
    let report = gpu.run("9.0", 700 << 20, &bench("esm2-8m", "f16", "262144")).ok().stdout;
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert!(report["token_budget"].as_u64().unwrap() < 262_144, "{report}");
    assert!(report["token_budget_reason"].as_str().unwrap().contains("halved"), "{report}");
    assert!(gpu.count("refused") > 0);
}

/// Sequences longer than the budget, each longer than the ones before, so that no block that served an
/// earlier one has room for the next.
#[test]
fn fake_gpu_lets_go_of_blocks_that_are_too_small_before_memory_is_short() {
    let gpu = FakeGpu::new();
    let (input, output) = (gpu.path("in.faa"), gpu.path("out.npy"));
    let records = (1..=20).map(|n| format!(">s{n}\n{}\n", "MKV".repeat(1667 * n)));
    std::fs::write(&input, records.collect::<String>()).unwrap();
    let model = testdata("../models/mini/esm2");
    let [input, output, model] = [&input, &output, &model].map(|path| path.to_str().unwrap());
    let args = ["embed", input, "--model", model, "-o", output, "--device", "cuda"];
    let args = [&args[..], &["--token-budget", "2048"]].concat();
    gpu.run("9.0", 16 * GIB, &args).ok();
    assert_eq!(gpu.count("refused"), 0);
    let unlimited = gpu.count("peak_bytes") as usize;

    gpu.run("9.0", unlimited / 2, &args).ok();
    assert!(gpu.count("refused") > 0);
    std::fs::remove_file(gpu.path("out.npy")).unwrap();
    gpu.run("9.0", unlimited / 8, &args).failed_with(&["no memory for"]);
    assert!(!gpu.path("out.npy").exists());
}
