"""Times the linear kernels of an ESM-2 layer at the chip's power limit, with other macros beside their own.

    python3 bench/kernel_lab/linear_power.py [--hidden 2560] [--rows 33792] [--seconds 0.8] [--turns 3]
        [--once] [NAME=VALUE,... ...]

Each argument is a variant: macros that are not to have their defaults. All take turns, forwards and
backwards; turns much shorter than the default measure what the ones before have left of the power. Prints
medians in milliseconds and each variant's ratio to the kernel as written. Proves nothing: linear_gelu.py,
linear_rotary.py and lab.py do. Needs a Hopper GPU.

With --once every kernel is launched a single time and named, for a profiler that counts bytes:

    ncu --clock-control none --kernel-name regex:linear_ --csv \\
        --metrics dram__bytes_read.sum,dram__bytes_write.sum,lts__t_bytes.sum \\
        python3 bench/kernel_lab/linear_power.py --once
"""

import argparse
import statistics

import driver
import kernels as k
import torch
from linear_cases import label
from linear_lab import parse
from linear_times import in_turns


def random(*shape, scale=1.0):
    return (torch.randn(*shape, device="cuda") * scale).half()


def products(hidden, rows):
    """(what, kernel, features, depth, arguments of this kernel alone)."""
    positions = (torch.arange(rows, device="cuda") % 168).int()
    table = torch.randn(168, 32, 2, device="cuda")
    before, moments = random(rows, hidden), torch.empty(hidden // 64, rows, 2, device="cuda")
    yield "rotary", "linear_rotary", 3 * hidden, hidden, (positions, table, 2 * hidden)
    yield "residual", "linear_residual", hidden, hidden, (before, moments)
    yield "gelu", "linear_gelu", 4 * hidden, hidden, ()
    yield "residual, deep", "linear_residual", hidden, 4 * hidden, (before, moments)


def launches(hidden, rows, variants):
    """(what, variant): the launch and its floating-point operations."""
    for what, kernel, features, depth, more in products(hidden, rows):
        x, weights = random(rows, depth), random(features, depth, scale=depth**-0.5)
        bias, out = random(features, scale=0.1), torch.empty(rows, features, device="cuda").half()
        for defines in variants:
            launch = k.linear(kernel, "f16", x, weights, bias, out, more, defines)
            yield (what, defines), (launch, 2 * rows * features * depth)


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--hidden", type=int, default=2560)
    options.add_argument("--rows", type=int, default=33792)
    options.add_argument("--seconds", type=float, default=0.8)
    options.add_argument("--turns", type=int, default=3)
    options.add_argument("--once", action="store_true")
    options.add_argument("variants", nargs="*", type=parse)
    options = options.parse_args()
    variants = list(dict.fromkeys([(), *options.variants]))
    builds = {
        k.linear_build(kernel, "f16", depth, defines)
        for kernel in ("linear_rotary", "linear_residual", "linear_gelu")
        for depth in (options.hidden, 4 * options.hidden)
        for defines in variants
    }
    driver.compile_ahead(sorted(builds))
    calls = dict(launches(options.hidden, options.rows, variants))
    if options.once:
        for (what, defines), (launch, _) in calls.items():
            launch()
            torch.cuda.synchronize()
            print(f"launched: {what}, {label(defines)}", flush=True)
        return
    times = in_turns(calls, options.seconds, options.turns)
    print(f"{torch.cuda.get_device_name()}, hidden size {options.hidden}, {options.rows} rows, f16")
    for (what, defines), each in times.items():
        ms, usual = statistics.median(each), statistics.median(times[what, ()])
        turns = " ".join(f"{one:.3f}" for one in each)
        print(f"{what:15} {label(defines):24} {ms:.3f} ms, {ms / usual:.3f} ({turns})")


if __name__ == "__main__":
    main()
