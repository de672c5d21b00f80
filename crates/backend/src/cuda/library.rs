//! Finding NVIDIA's libraries, so that nothing of CUDA is needed to build or to start.
//!
//! The driver comes with the system. NVRTC and cuBLASLt are looked for in a folder that the user
//! names, where the system's linker looks, in `/usr/local/cuda*`, and in the `nvidia/*/lib` folders
//! of a Python environment. What is opened stays open for the life of the process.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::CudaError;

/// A library of NVIDIA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CudaLibrary {
    /// The driver, `libcuda`.
    Driver,
    /// The run-time compiler, `libnvrtc`.
    Nvrtc,
    /// The matrix library, `libcublasLt`.
    CublasLt,
}

impl CudaLibrary {
    /// All of them, in the order they are needed.
    pub const ALL: [Self; 3] = [Self::Driver, Self::Nvrtc, Self::CublasLt];

    /// Name for users.
    pub fn name(self) -> &'static str {
        match self {
            Self::Driver => "the CUDA driver (libcuda)",
            Self::Nvrtc => "NVRTC (libnvrtc)",
            Self::CublasLt => "cuBLASLt (libcublasLt)",
        }
    }

    /// How its files begin.
    fn stem(self) -> &'static str {
        match self {
            Self::Driver => "libcuda.so",
            Self::Nvrtc => "libnvrtc.so",
            Self::CublasLt => "libcublasLt.so",
        }
    }

    /// Files that it opens by name alone, and finds when they are open already.
    fn companions(self) -> &'static [&'static str] {
        match self {
            Self::Driver | Self::CublasLt => &[],
            Self::Nvrtc => &["libnvrtc-builtins.so"],
        }
    }

    fn is_present(self) -> bool {
        // SAFETY: these only try to open the library, whose initialisers are NVIDIA's own; none of
        // its functions is called.
        unsafe {
            match self {
                Self::Driver => cudarc::driver::sys::is_culib_present(),
                Self::Nvrtc => cudarc::nvrtc::sys::is_culib_present(),
                Self::CublasLt => cudarc::cublaslt::sys::is_culib_present(),
            }
        }
    }
}

/// Libraries opened by path, kept open.
static OPENED: Mutex<Vec<libloading::Library>> = Mutex::new(Vec::new());

/// Makes a library ready to be called; `named` is the user's folder, which must have it (the driver
/// comes with the system).
///
/// # Errors
/// [`CudaError::Library`] with the places that were tried.
pub(super) fn require(library: CudaLibrary, named: Option<&Path>) -> Result<(), CudaError> {
    if let Some(folder) = named.filter(|_| library != CudaLibrary::Driver)
        && !open_in(folder, library)
    {
        let looked_in = folder.display().to_string();
        return Err(CudaError::Library { library: library.name(), looked_in });
    }
    if library.is_present() {
        return Ok(());
    }
    let folders = usual_folders(library);
    for folder in &folders {
        if open_in(folder, library) && library.is_present() {
            return Ok(());
        }
    }
    let shown: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let mut looked_in = "the system's library folders".to_owned();
    if !shown.is_empty() {
        looked_in = format!("{looked_in}, {}", shown.join(", "));
    }
    Err(CudaError::Library { library: library.name(), looked_in })
}

/// Folders besides the system's own that exist on this machine.
fn usual_folders(library: CudaLibrary) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if library == CudaLibrary::Driver {
        folders.extend(["/usr/lib/wsl/lib", "/usr/local/nvidia/lib64"].map(PathBuf::from));
    } else {
        for name in sorted_entries(Path::new("/usr/local"), "cuda") {
            folders.push(name.join("lib64"));
        }
        for environment in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
            let Some(root) = env::var_os(environment).map(PathBuf::from) else { continue };
            folders.push(root.join("lib"));
            for python in sorted_entries(&root.join("lib"), "python") {
                for package in sorted_entries(&python.join("site-packages/nvidia"), "") {
                    folders.push(package.join("lib"));
                }
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

/// Entries of a folder that begin with `prefix`, last name first, so that newer versions lead.
fn sorted_entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    paths.sort_unstable_by(|a, b| b.cmp(a));
    paths
}

/// Opens a library and its companions in a folder; whether the library itself could be opened.
fn open_in(folder: &Path, library: CudaLibrary) -> bool {
    for companion in library.companions() {
        open_first(folder, companion);
    }
    open_first(folder, library.stem())
}

fn open_first(folder: &Path, stem: &str) -> bool {
    for path in sorted_entries(folder, stem) {
        // SAFETY: runs the initialisers of a library in a folder that the user named or that
        // belongs to the system's CUDA; that is what the user asked for by using the GPU.
        if let Ok(opened) = unsafe { libloading::Library::new(&path) } {
            // A poisoned list is still a list.
            OPENED.lock().unwrap_or_else(PoisonError::into_inner).push(opened);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn require_library_that_is_nowhere_names_the_places() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("libnvrtc.so.13"), b"not a library").unwrap();
        assert!(!open_in(folder.path(), CudaLibrary::Nvrtc));
        // A folder that is named must have it, whatever the system has.
        let error = require(CudaLibrary::Nvrtc, Some(folder.path())).unwrap_err().to_string();
        assert!(error.starts_with("NVRTC (libnvrtc) was not found"), "{error}");
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }

    #[test]
    fn sorted_entries_newest_name_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["cuda-12.4", "cuda-13.0", "other"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names: Vec<_> = sorted_entries(folder.path(), "cuda");
        assert_eq!(names, ["cuda-13.0", "cuda-12.4"].map(|name| folder.path().join(name)));
    }
}
