"""Compiles every kernel for every chip and element type, and prints registers and spills. Needs no GPU.

    python3 bench/kernel_lab/compile_all.py [sm_90 ...]

With no argument all supported chips are built and only spills and failures are printed.
"""

import re
import sys
import time

import nvrtc

CHIPS = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")
HEAD_DIMS = (16, 24, 32, 64, 80, 128)
PLAIN = ("embed", "layer_norm", "rotary", "gelu", "pool", "convert", "folded_norm")
LINEAR = ("linear_gelu_wgmma", "linear_gated_wgmma", "linear_rotary_wgmma", "linear_residual_wgmma")


def builds(arch):
    for dtype in nvrtc.DTYPES:
        if dtype == "bf16" and arch == "sm_75":
            continue
        for name in PLAIN:
            yield name, dtype, ()
        if dtype != "f32" and arch == "sm_90":
            for name in LINEAR:
                for parts in (1, 2, 4, 8, 16):
                    yield name, dtype, (f"PARTS={parts}",)
                for parts in (4, 8, 16):
                    yield name, dtype, (f"PARTS={parts}", "WHOLE_ROUNDS=1")
        for head_dim in HEAD_DIMS:
            head = (f"HEAD_DIM={head_dim}",)
            if dtype == "f32":
                yield "attention_f32", dtype, head
                continue
            yield "attention", dtype, head
            if head_dim % 64 == 0 and arch == "sm_90":
                yield "attention_wgmma", dtype, head
            if head_dim == 64 and arch == "sm_90":
                yield "attention_resident_wgmma", dtype, head


def resources(log):
    """(kernel, registers, spilled bytes, stack bytes) of each kernel in the compiler's report."""
    pattern = (
        r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores"
        r".*?Used (\d+) registers"
    )
    for kernel, stack, spill, registers in re.findall(pattern, log, re.S):
        yield kernel, int(registers), int(spill), int(stack)


def main():
    chosen = sys.argv[1:]
    print(f"NVRTC {nvrtc.version()}")
    for arch in chosen or CHIPS:
        start, count, spills = time.time(), 0, 0
        for name, dtype, defines in builds(arch):
            _, log = nvrtc.compile_kernel(name, dtype, nvrtc.target(name, arch), defines, verbose=True)
            if "warning" in log:
                print(log)
            for kernel, registers, spill, stack in resources(log):
                count += 1
                spills += spill > 0
                if chosen or spill:
                    what = f"{name}.cu {kernel} {dtype} {' '.join(defines)}"
                    print(f"{arch} {what:60} {registers:4} registers {spill} spilled {stack} stack")
        print(f"{arch}: {count} kernels, {spills} with spills, {time.time() - start:.1f} s")


main()
