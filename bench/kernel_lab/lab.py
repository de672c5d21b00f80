"""Proves and times the CUDA kernels on the GPU at hand.

    python3 bench/kernel_lab/lab.py [--no-checks] [--no-simple] [--sweep] [--mutations] [--out FOLDER]
    compute-sanitizer --tool racecheck --kernel-name kne=attention_resident \\
        python3 bench/kernel_lab/lab.py --check check_attention_resident

Needs torch with CUDA and NVRTC (see nvrtc.py). Prints every check that misses its bound, then tables;
writes all numbers as JSON to FOLDER. With --check one group of checks runs alone and nothing is timed. Exit
status 1 if a check fails.
"""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path

import check
import check_linear
import driver
import kernels
import mutations
import nvrtc
import timing
import torch
from kernels import mma

PLAIN = ("embed", "layer_norm", "rotary", "gelu", "pool", "convert")
# Shapes of attention.cu for heads of 64, beside the chosen one.
SWEEP = [mma(4, 1, 32, 5), mma(8, 1, 64, 2), mma(4, 2, 32, 3)]


def best_shapes(dtype, head_dim):
    """For short and for long sequences."""
    return [kernels.best_shape(dtype, head_dim, [length]) for length in (168, 2000)]


def builds(dtypes, shapes):
    """Every module that the run will load."""
    for dtype in dtypes:
        yield from ((name, dtype, ()) for name in PLAIN)
        for head_dim in check.HEAD_DIMS:
            for shape in (kernels.portable_shape(dtype, head_dim), *best_shapes(dtype, head_dim)):
                yield kernels.attention_build(dtype, head_dim, shape)
    yield from (kernels.attention_build("f16", 64, shape) for shape in shapes)


def run_checks(results, shapes, only=None):
    failed = 0
    cases = [case for case in (*check.CHECKS, *check_linear.CHECKS) if only in (None, case.__name__)]
    for dtype in nvrtc.DTYPES:
        for case in cases:
            start, count, worst = time.time(), 0, 0.0
            torch.manual_seed(1)
            try:
                more = {"shapes": shapes} if case is check.check_attention and dtype == "f16" else {}
                for name, measured, bound in case(dtype, **more):
                    torch.cuda.synchronize()
                    count += 1
                    good = measured <= bound
                    failed += not good
                    if bound:
                        worst = max(worst, measured / bound)
                    results.append((dtype, name, measured, bound, good))
                    if not good:
                        print(f"MISSED {dtype} {name}: {measured:.3g} > {bound:.3g}")
            except Exception:
                failed += 1
                print(f"BROKEN {dtype} {case.__name__}\n{traceback.format_exc(limit=-4)}")
            spent = time.time() - start
            print(f"{dtype:5} {case.__name__:18} {count:4} checks, worst {worst:.2f} of bound, {spent:.1f} s")
    return failed


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--no-checks", action="store_true")
    options.add_argument("--check", choices=[c.__name__ for c in (*check.CHECKS, *check_linear.CHECKS)])
    options.add_argument("--no-simple", action="store_true")
    options.add_argument("--mutations", action="store_true")
    options.add_argument("--sweep", action="store_true")
    options.add_argument("--out", default=".")
    options = options.parse_args()
    if options.check:
        sys.exit(run_checks([], [], options.check) > 0)
    numbers = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "nvrtc": nvrtc.version()}
    print(numbers, driver.arch())
    shapes = SWEEP if options.sweep else []
    start = time.time()
    dtypes = ("f16",) if options.no_checks else nvrtc.DTYPES
    wanted = set(builds(dtypes, shapes))
    driver.compile_ahead(sorted(wanted))
    print(f"compiled {len(wanted)} modules in {time.time() - start:.1f} s")

    failed = 0
    if not options.no_checks:
        numbers["checks"] = []
        failed = run_checks(numbers["checks"], shapes)
        print(f"{len(numbers['checks'])} checks, {failed} failed")

    ceiling = timing.copy_bandwidth()
    print(f"copy {ceiling:.0f} GB/s")
    numbers["copy_gb_s"] = ceiling
    if not options.no_simple:
        numbers["simple"] = []
        for name, ms, moved, theirs in timing.simple():
            rate = moved / ms / 1e6
            beside = f"torch {theirs:.4f} ms" if theirs else ""
            print(f"{name:26} {ms:.4f} ms {rate:6.0f} GB/s {100 * rate / ceiling:4.0f} %  {beside}")
            numbers["simple"].append((name, ms, rate, theirs))

    numbers["attention"] = []
    chosen = dict.fromkeys([*best_shapes("f16", 64), kernels.portable_shape("f16", 64), *shapes])
    for workload, name, ms, operations, moved in timing.attention(chosen):
        rate, bandwidth = operations / ms / 1e9, moved / ms / 1e6
        print(f"{workload:10} {name:66} {ms:.4f} ms {rate:5.0f} TFLOP/s {bandwidth:5.0f} GB/s")
        numbers["attention"].append((workload, name, ms, rate, bandwidth))
    for dtype in dtypes:
        for head_dim, ms, theirs in timing.other_heads(dtype):
            print(f"proteome {dtype} head_dim {head_dim:3} {ms:.4f} ms, torch flash {theirs:.4f} ms")
            numbers["attention"].append((f"proteome {dtype}", head_dim, ms, theirs))
    if options.mutations:
        survivors = mutations.survivors()
        failed += len(survivors)
        print(f"{len(mutations.MUTATIONS)} broken kernels, not caught: {survivors or 'none'}")
    Path(options.out, "lab.json").write_text(json.dumps(numbers, indent=1))
    sys.exit(failed > 0)


main()
