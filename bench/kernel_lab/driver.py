"""Loads cubins and launches kernels on torch's stream, through libcuda alone."""

import ctypes
import functools
from concurrent.futures import ThreadPoolExecutor

import nvrtc
import torch

CUDA = ctypes.CDLL("libcuda.so.1")
MAX_DYNAMIC_SHARED = 8


def check(code, what):
    if code:
        text = ctypes.c_char_p()
        CUDA.cuGetErrorString(code, ctypes.byref(text))
        raise RuntimeError(f"{what}: {text.value.decode()}")


@functools.cache
def arch():
    torch.cuda.init()
    torch.zeros(1, device="cuda")
    major, minor = torch.cuda.get_device_capability()
    return f"sm_{major}{minor}"


@functools.cache
def cubin(name, dtype, defines):
    return nvrtc.compile_kernel(name, dtype, nvrtc.target(name, arch()), defines)[0]


def compile_ahead(builds):
    """Fills the cache on several threads; NVRTC runs outside Python's lock."""
    arch()
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda build: cubin(*build), builds))


@functools.cache
def function(name, entry, dtype, defines, shared=96 * 1024):
    """`shared`: the most dynamic shared memory that it may be launched with."""
    module, result = ctypes.c_void_p(), ctypes.c_void_p()
    check(CUDA.cuModuleLoadData(ctypes.byref(module), cubin(name, dtype, defines)), f"load {name}")
    code = CUDA.cuModuleGetFunction(ctypes.byref(result), module, entry.encode())
    check(code, f"{entry} in {name}")
    check(CUDA.cuFuncSetAttribute(result, MAX_DYNAMIC_SHARED, shared), "shared memory")
    return result


class TensorMap(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint64 * 16)]


def tensor_map(tensor, box_rows):
    """The copy engine's view of a matrix of 16-bit elements in boxes of 64 x `box_rows`, exchanged in 128
    bytes, with zeros outside.
    """
    (rows, cols), stride = tensor.shape, tensor.stride(0) * 2
    assert tensor.is_cuda and tensor.element_size() == 2 and tensor.stride(1) == 1
    assert tensor.data_ptr() % 16 == 0 and stride % 16 == 0
    room = ctypes.create_string_buffer(192)
    result = TensorMap.from_buffer(room, -ctypes.addressof(room) % 64)
    code = CUDA.cuTensorMapEncodeTiled(
        ctypes.byref(result),
        1,  # unsigned 16-bit integers: bits are only moved
        2,
        ctypes.c_void_p(tensor.data_ptr()),
        (ctypes.c_uint64 * 2)(cols, rows),
        (ctypes.c_uint64 * 1)(stride),
        (ctypes.c_uint32 * 2)(64, box_rows),
        (ctypes.c_uint32 * 2)(1, 1),
        0,  # not interleaved
        3,  # exchanged in 128 bytes
        3,  # fetched to the L2 cache in 256 bytes
        0,  # zeros outside
    )
    check(code, f"tensor map of {rows} x {cols}, {box_rows} rows a box")
    return result


def argument(value):
    if value is None:
        return ctypes.c_void_p(0)
    if isinstance(value, torch.Tensor):
        assert value.is_cuda and value.is_contiguous()
        return ctypes.c_void_p(value.data_ptr())
    if isinstance(value, float):
        return ctypes.c_float(value)
    if isinstance(value, int):
        return ctypes.c_int(value)
    return value


class Launch:
    """A kernel with its geometry and arguments; calling it launches. Keeps its tensors alive."""

    def __init__(self, function, grid, block, arguments, shared=0):
        self.function, self.tensors = function, arguments
        self.grid = tuple(grid) + (1,) * (3 - len(grid))
        self.block, self.shared = block, shared
        self.values = [argument(a) for a in arguments]
        self.pointers = (ctypes.c_void_p * len(self.values))(
            *[ctypes.addressof(v) for v in self.values]
        )

    def __call__(self):
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        code = CUDA.cuLaunchKernel(
            self.function, *self.grid, self.block, 1, 1, self.shared, stream, self.pointers, None
        )
        check(code, "launch")

    def blocks_per_multiprocessor(self):
        count = ctypes.c_int()
        CUDA.cuOccupancyMaxActiveBlocksPerMultiprocessor(
            ctypes.byref(count), self.function, self.block, ctypes.c_size_t(self.shared)
        )
        return count.value
