//! Running the program as a user would.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What a run left behind.
pub struct Run {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

fn collect(output: Output) -> Run {
    Run {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_virnucpro"))
}

/// Runs the program with these arguments.
pub fn run<A: AsRef<std::ffi::OsStr>>(args: &[A]) -> Run {
    run_command(program().args(args))
}

/// Runs a command to its end.
pub fn run_command(command: &mut Command) -> Run {
    collect(command.output().unwrap())
}

/// Runs the program with `input` on standard input.
pub fn run_with_input<A: AsRef<std::ffi::OsStr>>(args: &[A], input: &[u8]) -> Run {
    let mut child = program()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that stops early closes the pipe; what matters then is what it says.
    let _ = child.stdin.take().unwrap().write_all(input);
    collect(child.wait_with_output().unwrap())
}

impl Run {
    /// Panics unless the run succeeded.
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self
    }

    /// Panics unless the run failed with one line on standard error that holds all of `parts`.
    pub fn failed_with(self, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(1), "stdout: {} stderr: {}", self.stdout, self.stderr);
        let errors: Vec<_> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        for part in parts {
            assert!(errors[0].contains(part), "{part:?} is not in {:?}", errors[0]);
        }
        self
    }
}

/// The project's own oracle cases.
pub fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// A path in the shared material, or `None` (said aloud) where it is absent.
pub fn shared(path: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared").join(path);
    if !path.exists() {
        println!("skipped: {} is not here", path.display());
        return None;
    }
    Some(path)
}

/// Names in a folder, sorted; none if it does not exist.
pub fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path.as_ref()).unwrap()
}

/// A sequence without stop codons in any of its six frames: no T, and hence no A on the other
/// strand that could make one; `n` letters of C, G and A.
pub fn open_sequence(n: usize, mut seed: u64) -> String {
    (0..n)
        .map(|_| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            ['A', 'C', 'G', 'C'][(seed >> 32) as usize % 4]
        })
        .collect()
}
