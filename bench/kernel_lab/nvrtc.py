"""Compiles the kernel files with NVRTC, as the program does: its front files before it, no include path.

Used by the other files of this folder. Finds NVRTC in NVRTC_LIBRARY, the usual CUDA folders, or the
`nvidia/*/lib` folders of the running Python. With KERNEL_LAB_CACHE=FOLDER cubins are kept there.
"""

import ctypes
import functools
import glob
import hashlib
import os
import sys
from pathlib import Path

KERNELS = Path(__file__).resolve().parents[2] / "crates/backend/src/cuda/kernels"
# Files in front of a kernel file, where it is not element.cu alone.
FRONT = {"attention": ("element", "attention_parts")}
ATTENTION = ("attention_parts", "attention_parts_wgmma")
FRONT["attention_wgmma"] = ("element", "wgmma_parts", *ATTENTION)
FRONT["attention_resident_wgmma"] = ("element", "wgmma_parts", "copy_engine_parts", *ATTENTION)
FRONT["gelu"] = ("element", "gelu_parts")
FRONT |= dict.fromkeys(("convert", "folded_norm"), ("element", "stored_parts"))
LINEAR = ("element", "wgmma_parts", "copy_engine_parts", "linear_parts_wgmma")
FRONT |= dict.fromkeys(("linear_gelu_wgmma", "linear_gated_wgmma"), (*LINEAR, "gelu_parts"))
FRONT |= dict.fromkeys(("linear_rotary_wgmma", "linear_residual_wgmma"), LINEAR)
DTYPES = ("f16", "bf16", "f32")


def target(name, arch):
    """Hopper's warpgroup instructions need the target that promises this chip alone."""
    return "sm_90a" if name.endswith("_wgmma") else arch


@functools.cache
def library():
    candidates = [os.environ.get("NVRTC_LIBRARY", "")]
    candidates += sorted(glob.glob("/usr/local/cuda*/lib64/libnvrtc.so.1?"))
    for folder in sys.path:
        candidates += sorted(glob.glob(f"{folder}/nvidia/*/lib/libnvrtc.so.1?"))
    for path in filter(None, candidates):
        try:
            # NVRTC opens its builtins by name alone; it finds them when they are already loaded.
            for builtins in glob.glob(f"{os.path.dirname(path)}/libnvrtc-builtins.so.1?.?"):
                ctypes.CDLL(builtins, ctypes.RTLD_GLOBAL)
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise RuntimeError(f"no NVRTC among {candidates}")


def version():
    major, minor = ctypes.c_int(), ctypes.c_int()
    library().nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def _check(code, what):
    if code:
        library().nvrtcGetErrorString.restype = ctypes.c_char_p
        raise RuntimeError(f"{what}: {library().nvrtcGetErrorString(code).decode()}")


def _text(program, size_of, get):
    size = ctypes.c_size_t()
    _check(size_of(program, ctypes.byref(size)), "size")
    buffer = ctypes.create_string_buffer(size.value)
    _check(get(program, buffer), "get")
    return buffer.raw[: size.value]


def source_of(name):
    parts = (*FRONT.get(name, ("element",)), name)
    return "".join((KERNELS / f"{part}.cu").read_text() for part in parts)


def compile_kernel(name, dtype, arch, defines=(), verbose=False, source=None):
    """The cubin of `name`.cu, or of another source, for `arch` ("sm_90"), and the compiler's log."""
    source = source or source_of(name)
    options = [f"--gpu-architecture={arch}", "--std=c++17", f"-DELEMENT_{dtype.upper()}"]
    options += [f"-D{d}" for d in defines]
    if verbose:
        options.append("--ptxas-options=-v")
    cache = os.environ.get("KERNEL_LAB_CACHE")
    if cache and not verbose:
        key = hashlib.sha256(repr((source, options)).encode()).hexdigest()[:24]
        cached = Path(cache, f"{name}-{key}.cubin")
        if cached.exists():
            return cached.read_bytes(), ""
    lib = library()
    program = ctypes.c_void_p()
    _check(
        lib.nvrtcCreateProgram(
            ctypes.byref(program), source.encode(), f"{name}.cu".encode(), 0, None, None
        ),
        "create",
    )
    array = (ctypes.c_char_p * len(options))(*[o.encode() for o in options])
    code = lib.nvrtcCompileProgram(program, len(options), array)
    log = _text(program, lib.nvrtcGetProgramLogSize, lib.nvrtcGetProgramLog).decode().strip("\0\n ")
    if code:
        raise RuntimeError(f"{name}.cu {dtype} {arch} {defines}:\n{log}")
    cubin = _text(program, lib.nvrtcGetCUBINSize, lib.nvrtcGetCUBIN)
    lib.nvrtcDestroyProgram(ctypes.byref(program))
    if cache and not verbose:
        cached.parent.mkdir(parents=True, exist_ok=True)
        cached.write_bytes(cubin)
    return cubin, log
