//! From kernel text to machine code for the chip at hand, by NVRTC, kept on disk.

use std::ffi::{CStr, CString, c_char};

use cudarc::nvrtc::result as nvrtc;
use cudarc::nvrtc::sys;

use super::CudaError;
use super::cache::Cache;
use super::library::{self, CudaLibrary};
use super::source::KernelFile;
use crate::Precision;

/// Lines of the compiler's log that an error shows.
const LOG_LINES: usize = 3;

/// Compiles kernels for one chip.
#[derive(Debug)]
pub(super) struct Compiler {
    arch: String,
    version: (i32, i32),
    cache: Cache,
}

/// Machine code, and whether it was on disk already.
pub(super) struct Cubin {
    pub(super) code: Vec<u8>,
    pub(super) was_cached: bool,
}

/// Version of NVRTC, which must be ready.
pub(super) fn version() -> Result<(i32, i32), CudaError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both places are valid for the call.
    let code = unsafe { sys::nvrtcVersion(&mut major, &mut minor) };
    code.result().map_err(|e| CudaError::Compile {
        kernel: "any",
        arch: "any chip".to_owned(),
        log: format!("{:?}", e.0),
    })?;
    Ok((major, minor))
}

impl Compiler {
    /// A compiler for a chip such as `sm_90`.
    pub(super) fn new(
        arch: String,
        cache: Cache,
        named: Option<&std::path::Path>,
    ) -> Result<Self, CudaError> {
        library::require(CudaLibrary::Nvrtc, named)?;
        Ok(Self { arch, version: version()?, cache })
    }

    /// Machine code of a file, from disk or compiled now.
    pub(super) fn cubin(&self, file: KernelFile, precision: Precision) -> Result<Cubin, CudaError> {
        let (text, options) = (file.text(precision), file.options(precision, &self.arch));
        let name = file.name(precision);
        let key = format!("{:?} {options:?}\n{text}", self.version);
        if let Some(code) = self.cache.read(name, &key) {
            return Ok(Cubin { code, was_cached: true });
        }
        let failed =
            |log: String| CudaError::Compile { kernel: name, arch: self.arch.clone(), log };
        let code = compile(&text, name, &options).map_err(failed)?;
        self.cache.write(name, &key, &code);
        Ok(Cubin { code, was_cached: false })
    }
}

/// A program of NVRTC's, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: made by `create_program` and destroyed once.
        let _ = unsafe { nvrtc::destroy_program(self.0) };
    }
}

fn compile(text: &str, name: &str, options: &[String]) -> Result<Vec<u8>, String> {
    let code = |error: nvrtc::NvrtcError| format!("{:?}", error.0);
    let text = CString::new(text).map_err(|e| e.to_string())?;
    let file_name = CString::new(format!("{name}.cu")).map_err(|e| e.to_string())?;
    let program = Program(nvrtc::create_program(&text, Some(&file_name)).map_err(code)?);
    // SAFETY: the program is alive.
    if let Err(error) = unsafe { nvrtc::compile_program(program.0, options) } {
        // SAFETY: as above.
        let log = unsafe { nvrtc::get_program_log(program.0) }.map_err(code)?;
        return Err(first_lines(&log).unwrap_or_else(|| code(error)));
    }
    let mut size = 0;
    // SAFETY: the program is alive and `size` is valid for the call.
    unsafe { sys::nvrtcGetCUBINSize(program.0, &mut size) }.result().map_err(code)?;
    let mut cubin = vec![0u8; size];
    // SAFETY: `cubin` has as many bytes as NVRTC asked for.
    unsafe { sys::nvrtcGetCUBIN(program.0, cubin.as_mut_ptr().cast::<c_char>()) }
        .result()
        .map_err(code)?;
    Ok(cubin)
}

fn first_lines(log: &[c_char]) -> Option<String> {
    let bytes: Vec<u8> = log.iter().map(|&c| c as u8).chain([0]).collect();
    let text = CStr::from_bytes_until_nul(&bytes).ok()?.to_string_lossy().into_owned();
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    (!lines.is_empty()).then(|| lines[..lines.len().min(LOG_LINES)].join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chips that the kernels are written for.
    const CHIPS: [&str; 7] = ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

    /// NVRTC, or `None` where there is none and none was promised.
    fn nvrtc_or_skip() -> bool {
        let found = library::require(CudaLibrary::Nvrtc, None);
        let is_promised = std::env::var_os("VIRNUCPRO_TEST_NVRTC").is_some();
        match found {
            Ok(()) => true,
            Err(error) if is_promised => panic!("NVRTC was promised: {error}"),
            Err(error) => {
                eprintln!("skipped: {error}");
                false
            }
        }
    }

    fn builds(arch: &'static str) -> Vec<(KernelFile, Precision)> {
        let number: u32 = arch.trim_start_matches("sm_").parse().unwrap();
        let capability = (number / 10, number % 10);
        let mut builds = Vec::new();
        for precision in Precision::ALL {
            if precision == Precision::Bf16 && arch == "sm_75" {
                continue;
            }
            builds.extend(
                KernelFile::all(precision, capability).into_iter().map(|file| (file, precision)),
            );
        }
        builds
    }

    #[test]
    fn kernels_compile_for_every_chip_and_precision() {
        if !nvrtc_or_skip() {
            return;
        }
        let cache = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for arch in CHIPS {
                let cache = Cache::new(Some(cache.path().join(arch)));
                scope.spawn(move || {
                    let compiler = Compiler::new(arch.to_owned(), cache, None).unwrap();
                    for (file, precision) in builds(arch) {
                        let cubin = compiler.cubin(file, precision);
                        let cubin = cubin.unwrap_or_else(|e| panic!("{file:?} {precision}: {e}"));
                        assert!(cubin.code.starts_with(b"\x7fELF") && !cubin.was_cached);
                    }
                });
            }
        });
        let compiler =
            Compiler::new("sm_90".to_owned(), Cache::new(Some(cache.path().join("sm_90"))), None)
                .unwrap();
        assert!(compiler.cubin(KernelFile::Gelu, Precision::F16).unwrap().was_cached);
    }

    #[test]
    fn compile_broken_text_shows_the_compilers_words() {
        if !nvrtc_or_skip() {
            return;
        }
        let error = compile("__global__ void k() { nonsense; }", "k", &[]).unwrap_err();
        assert!(error.contains("nonsense") && error.contains("k.cu"), "{error}");
    }
}
