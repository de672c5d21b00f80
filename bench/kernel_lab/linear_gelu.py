"""Proves and times linear_gelu_wgmma.cu beside cuBLAS followed by gelu.cu; needs a Hopper GPU.

    python3 bench/kernel_lab/linear_gelu.py [--out FOLDER] [--define NAME=VALUE ...]
        [--variant NAME=VALUE,NAME=VALUE ...] [--budget SECONDS] [--no-checks] [--no-times]

Every variant has the macros of --define and its own; without --variant a few are taken. All GPU work is
done in child processes, which are killed when they say nothing for 20 s, so that a kernel that hangs costs
no more. First come exact cases, in which a wrong place of an operand can be read from the result, then
random ones against float64. A variant that fails is not timed. Exit status 1 if one fails.
"""

import argparse
import ctypes
import json
import math
import multiprocessing
import os
import sys
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("KERNEL_LAB_CACHE", "/tmp/kernel_lab_cache")

import nvrtc
import torch
from kernels import TORCH, linear_gelu_build

SILENCE_S = 20
VARIANTS = ("", "CLUSTER=1,GROUP=16", "PARTS=16", "STREAM_OUT=1")
# (rows, features, depth): ESM-2 3B with two batch sizes, then 650M.
SHAPES = ((16384, 10240, 2560), (32768, 10240, 2560), (16384, 5120, 1280), (32768, 5120, 1280))
ROWS = (1, 17, 127, 128, 129, 300, 1000, 16384)
DEPTHS, FEATURES = (320, 640, 1280, 2560), (1280, 2560, 5120, 10240)
# Rounding of one stored value, relative.
STEP = {"f16": 2.0**-11, "bf16": 2.0**-8}
# An ordinary NaN that arithmetic does not make.
POISON = 0x7FA5
# Polls of a barrier before the kernel gives up, half a second or so; in the first checks only.
LIMIT = ("WAIT_LIMIT", "10000000")


def parse(text):
    """("A", "1"), ... of "A=1,...": in this form macros travel."""
    return tuple(sorted(tuple((part + "=1").split("=")[:2]) for part in text.split(",") if part))


def label(defines):
    return " ".join(f"{name}={value}" for name, value in defines) or "as written"


# ---- checks: all of this runs in a child process, and `say` sends a line to the parent ----


def poisoned(rows, cols, dtype):
    """Rows for the result with 40 more behind them."""
    whole = torch.full((rows + 40, cols), POISON, dtype=torch.int16, device="cuda")
    return whole, whole[:rows].view(TORCH[dtype])


def run(dtype, x, weights, bias, defines, clusters=None):
    """The result, after a look at the rows behind it."""
    import kernels

    whole, out = poisoned(len(x), len(weights), dtype)
    kernels.linear_gelu(dtype, x, weights, bias, out, defines, clusters)()
    torch.cuda.synchronize()
    behind = (whole[len(x) :] != POISON).nonzero()
    if len(behind):
        row, col = behind[0].tolist()
        raise AssertionError(f"{len(behind)} elements written past the last row: row +{row}, column {col}")
    missing = whole[: len(x)] == POISON
    if missing.any():
        raise AssertionError("not written: " + where(missing))
    return out


def where(bad):
    """Which rows and columns of a matrix of truths."""
    at = bad.nonzero()
    rows, cols = at[:, 0].unique(), at[:, 1].unique()

    def some(values):
        shown = values[:8].tolist()
        return f"{len(values)} in {int(values[0])}..{int(values[-1])}, first {shown}"

    text = f"{len(at)} of {bad.numel()} elements, rows: {some(rows)}, columns: {some(cols)}"
    for n in (8, 64, 128):
        text += f"; modulo {n}: {len((rows % n).unique())} rows, {len((cols % n).unique())} columns"
    return text


def compare(what, out, expected, bound, found_text=True):
    """Raises with a readable account of the first mismatches."""
    bad = ~((out.double() - expected).abs() <= bound)
    if not bad.any():
        return
    row, col = bad.nonzero()[0].tolist()
    values = f"expected {expected[row, col]:.6g}, found {out[row, col]:.6g}"
    lines = [f"{what}: {where(bad)}", f"  first at row {row}, column {col}: {values}"]
    if found_text:
        for r in sorted({0, 1, 2, 8, 9, 16, 64, 65, row} & set(range(len(out)))):
            c = torch.tensor([0, 1, 2, 3, 4, 5, 8, 9, 16, 32, 64, 128, 192]).clamp(max=out.shape[1] - 1)
            here = " ".join(f"{v:.4g}" for v in out[r, c].tolist())
            there = " ".join(f"{v:.4g}" for v in expected[r, c].tolist())
            lines.append(f"  row {r:3}, columns 0-5 8 9 16 32 64 128 192: found {here} | expected {there}")
        # Where the wrong value would belong, if it stands in the same row or column at all.
        value = out[row, col].double()
        in_row = (expected[row] == value).nonzero()[:4].flatten().tolist()
        in_col = (expected[:, col] == value).nonzero()[:4].flatten().tolist()
        lines.append(f"  the found value is expected in this row at {in_row}, in this column at {in_col}")
    raise AssertionError("\n".join(lines))


def exact_cases(dtype):
    """(what, x, weights, bias) with results of 16 and more, where GELU is the identity."""
    rows, features, depth = 128, 256, 64
    r = torch.arange(rows, device="cuda")[:, None]
    f = torch.arange(features, device="cuda")[:, None]
    k = torch.arange(depth, device="cuda")[None]
    # bf16 holds whole numbers to 256.
    cap = 2048 if dtype == "f16" else 256

    def matrix(values, shape):
        return values.broadcast_to(shape).to(TORCH[dtype]).contiguous()

    one_x, one_w = (k == r % depth), (k == f % depth)
    zero = torch.zeros(features, device="cuda", dtype=TORCH[dtype])
    wide = (16 + f) % cap + 16 * ((16 + f) >= cap)
    yield "column -> feature", matrix(one_x, (rows, depth)), matrix(wide, (features, depth)), zero
    yield "row -> depth of x, weights", matrix(one_x, (rows, depth)), matrix(16 + k, (features, depth)), zero
    yield "row -> row of x", matrix(16 + r, (rows, depth)), matrix(one_w, (features, depth)), zero
    yield "column -> depth of x", matrix(16 + k, (rows, depth)), matrix(one_w, (features, depth)), zero
    bias = matrix(wide, (features, 1)).flatten()
    yield "bias alone", matrix(k * 0, (rows, depth)), matrix(k * 0, (features, depth)), bias
    ones = matrix(k * 0 + 1, (rows, depth)), matrix(k * 0 + 1, (features, depth))
    yield "sum of ones is 64", *ones, zero


def random_case(dtype, rows, features, depth):
    x = torch.randn(rows, depth, device="cuda")
    # Some rows reach both tails of GELU.
    x[::7] *= 6
    weights = torch.randn(features, depth, device="cuda") * depth**-0.5
    bias = torch.randn(features, device="cuda") * 0.5
    return (t.to(TORCH[dtype]) for t in (x, weights, bias))


def check_random(dtype, defines, rows, features, depth):
    x, weights, bias = random_case(dtype, rows, features, depth)
    out = run(dtype, x, weights, bias, defines)
    before = torch.addmm(bias.double(), x.double(), weights.double().T)
    ref = torch.nn.functional.gelu(before)
    # Rounded before GELU, whose slope is at most 1.13, and after; sums in f32.
    bound = STEP[dtype] * (1.2 * before.abs() + ref.abs()) + 2e-4
    what = f"{rows} x {features} x {depth}"
    compare(what, out, ref, bound, found_text=False)
    norm = float((out.double() - ref).norm() / ref.norm()) / STEP[dtype]
    if not norm <= 1:
        raise AssertionError(f"{what}: error {norm:.3f} steps")
    return norm


def same(a, b):
    return torch.equal(a.view(torch.int16), b.view(torch.int16))


def check_company(dtype, defines, say):
    """A row's bits do not depend on its company, on the grid or on the run."""
    x, weights, bias = random_case(dtype, 1000, 2560, 1280)
    out = run(dtype, x, weights, bias, defines)
    for first, last in ((0, 1), (37, 38), (999, 1000), (100, 229), (300, 1000), (64, 192)):
        part = run(dtype, x[first:last], weights, bias, defines)
        if not same(part, out[first:last]):
            raise AssertionError(f"rows {first}..{last} alone differ: " + where(part != out[first:last]))
    for clusters in (1, 2, 7):
        again = run(dtype, x, weights, bias, defines, clusters)
        if not same(again, out):
            raise AssertionError(f"on {clusters} clusters: " + where(again != out))
    x[5] = float("nan")
    x[131] = float("inf")
    other = run(dtype, x, weights, bias, defines)
    others = [r for r in range(1000) if r not in (5, 131)]
    if not same(other[others], out[others]) or not other[5].isnan().all():
        raise AssertionError("NaN in a row reaches others, or is lost")
    say("company: rows alone, other grids and a row of NaN leave all bits as they are")


def check_races(dtype, defines, say):
    import kernels

    for rows, features, depth in ((16384, 10240, 2560), (5000, 5120, 320), (20000, 1280, 640)):
        x, weights, bias = random_case(dtype, rows, features, depth)
        out = run(dtype, x, weights, bias, defines)
        again = torch.empty_like(out)
        launch = kernels.linear_gelu(dtype, x, weights, bias, again, defines)
        for turn in range(15):
            again.view(torch.int16).fill_(POISON)
            launch()
            if not same(again, out):
                raise AssertionError(f"{rows} x {features} x {depth} run {turn + 2}: " + where(again != out))
    say("races: 3 shapes, 16 runs each, always the same bits")


def check_all(jobs, say):
    """Ends with the first job that fails, which may leave the process unfit for more."""
    for job in jobs:
        check_one(*job, say)
        say(("passed",))


def check_one(dtype, defines, full, say):
    say(f"checks of {label(defines)}, {dtype}")
    for extra in ((LIMIT,), ()):
        for what, x, weights, bias in exact_cases(dtype):
            say(f"next: {what} {'with' if extra else 'without'} a limit")
            expected = (x.double() @ weights.double().T) + bias.double()
            compare(what, run(dtype, x, weights, bias, (*defines, *extra)), expected, expected * 0)
            if not extra:
                tall = x.repeat(3, 1)[:300].contiguous()
                wide, biases = weights.repeat(5, 1).contiguous(), bias.repeat(5)
                expected = (tall.double() @ wide.double().T) + biases.double()
                out = run(dtype, tall, wide, biases, defines)
                compare(what + ", more tiles", out, expected, expected * 0)
        if extra:
            for depth in (320, 2560):
                say(f"next: 1000 x 2560 x {depth} with a limit")
                check_random(dtype, (*defines, *extra), 1000, 2560, depth)
    say("exact cases: right")
    say("next: random")
    worst, count = 0.0, 0
    cases = [(r, f, k) for k in DEPTHS for f in FEATURES for r in ROWS]
    if not full:
        few = (1, 129, 1000, 16384), (1280, 10240), (320, 2560)
        cases = [case for case in cases if all(n in some for n, some in zip(case, few))]
    for rows, features, depth in cases:
        worst = max(worst, check_random(dtype, defines, rows, features, depth))
        count += 1
        if count % 16 == 0:
            say(f"next: random, {count} done, latest {rows} x {features} x {depth}")
    say(f"random: {count} shapes, worst error {worst:.3f} steps, nothing outside, nothing missing")
    say("next: company")
    check_company(dtype, defines, say)
    say("next: races")
    check_races(dtype, defines, say)


# ---- times ----


class Meter:
    """Clock, power and energy from NVML, or NaN without it."""

    def __init__(self):
        self.handle = None
        try:
            self.library = ctypes.CDLL("libnvidia-ml.so.1")
            handle = ctypes.c_void_p()
            begin = self.library.nvmlInit_v2, self.library.nvmlDeviceGetHandleByIndex_v2
            if begin[0]() == 0 and begin[1](0, ctypes.byref(handle)) == 0:
                self.handle = handle
        except OSError:
            pass

    def _read(self, name, kind, *arguments):
        value = kind()
        if self.handle is None or getattr(self.library, name)(self.handle, *arguments, ctypes.byref(value)):
            return math.nan
        return value.value

    def megahertz(self):
        return self._read("nvmlDeviceGetClockInfo", ctypes.c_uint, 1)

    def watts(self):
        return self._read("nvmlDeviceGetPowerUsage", ctypes.c_uint) / 1000

    def joules(self):
        return self._read("nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong) / 1000


def timed(call, count):
    """Starts `count` calls between two events, which it returns."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        call()
    end.record()
    return start, end


def burst(call, tries):
    """Milliseconds of a call, from the best of some times eight calls on a rested chip."""
    best = math.inf
    for _ in range(tries):
        torch.cuda.synchronize()
        time.sleep(0.1)
        call()
        start, end = timed(call, 8)
        end.synchronize()
        best = min(best, start.elapsed_time(end) / 8)
    return best


def sustained(calls, bursts, seconds, meter, say, slice_s=0.3):
    """Per call: milliseconds, megahertz, watts, joules a call; in turn, a slice each, after a warm third."""
    sums = {name: [] for name in calls}
    for turn in range(max(1, round(seconds / slice_s))):
        say(f"next: slice {turn}")
        for name, call in calls.items():
            per_second = 1000 / bursts[name]
            for _ in range(int(per_second * slice_s / 3)):
                call()
            torch.cuda.synchronize()
            energy = meter.joules()
            count = max(1, int(per_second * slice_s * 2 / 3))
            start, end = timed(call, count)
            time.sleep(slice_s / 3)
            clock, power = meter.megahertz(), meter.watts()
            end.synchronize()
            energy = (meter.joules() - energy) / count
            sums[name].append((start.elapsed_time(end) / count, clock, power, energy))
    return {name: [sum(column) / len(column) for column in zip(*rows)] for name, rows in sums.items()}


def time_shape(shape, variants, tries, budget, meter, say):
    """Long-run milliseconds of each variant."""
    import kernels as k

    rows, features, depth = shape
    x, weights, bias = random_case("f16", rows, features, depth)
    out = torch.empty(rows, features, dtype=torch.float16, device="cuda")
    products = {
        "addmm": lambda: torch.addmm(bias, x, weights.T, out=out),
        "mm": lambda: torch.mm(x, weights.T, out=out),
    }
    alone = {name: burst(call, tries) for name, call in products.items()}
    form = min(alone, key=alone.get)
    gelu = k.gelu("f16", out)

    def both():
        products[form]()
        gelu()

    baseline = f"cuBLAS {form} + gelu"
    calls = {f"cuBLAS {form}": products[form], baseline: both}
    for defines in variants:
        calls[label(defines)] = k.linear_gelu("f16", x, weights, bias, out, defines)
    bursts = {name: burst(call, tries) for name, call in calls.items()}
    seconds = budget / len(calls)
    # The chip is brought to its power limit first.
    for _ in range(int(400 / bursts[baseline])):
        both()
    means = sustained(calls, bursts, seconds, meter, say)
    say(
        f"rows {rows}, features {features}, depth {depth}: burst addmm {alone['addmm']:.3f} ms, "
        f"mm {alone['mm']:.3f} ms, gelu {burst(gelu, 1):.3f} ms; then {seconds:.1f} s each"
    )
    say(
        f"  {'':30} {'burst ms':>8} {'TFLOP/s':>7} {'ratio':>5} | {'long ms':>8} {'TFLOP/s':>7} "
        f"{'ratio':>5} {'MHz':>5} {'W':>4} {'J':>6}"
    )
    operations = 2 * rows * features * depth
    for name in calls:
        ms, clock, power, energy = means[name]
        say(
            f"  {name:30} {bursts[name]:8.3f} {operations / bursts[name] / 1e9:7.0f} "
            f"{bursts[name] / bursts[baseline]:5.3f} | {ms:8.3f} {operations / ms / 1e9:7.0f} "
            f"{ms / means[baseline][0]:5.3f} {clock:5.0f} {power:4.0f} {energy:6.3f}"
        )
        say(("number", shape, name, bursts[name], ms, clock, power, energy))
    return {defines: means[label(defines)][0] for defines in variants}


def times(variants, budget, say):
    say("times, f16; ratio: to the time of cuBLAS + gelu; J: energy of a call")
    meter = Meter()
    found = time_shape(SHAPES[0], variants, 3, budget / 2, meter, say)
    # Elsewhere the first variant and the best one.
    few = list(dict.fromkeys([variants[0], min(found, key=found.get)]))
    for shape in SHAPES[1:]:
        torch.cuda.empty_cache()
        time_shape(shape, few, 1, budget / 2 / len(SHAPES[1:]), meter, say)


# ---- the parent, which never touches the GPU ----


def child(connection, work, arguments):
    say = connection.send
    try:
        work(*arguments, say)
        say(("end", ""))
    except BaseException as error:
        text = str(error) if isinstance(error, AssertionError) else traceback.format_exc(limit=-4)
        say(("end", text))


def supervise(work, arguments, heard):
    """Runs `work` in a child; whether it came to a good end. What it says goes to `heard`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(there, work, arguments), daemon=True)
    process.start()
    there.close()
    last = "the start"
    try:
        while here.poll(SILENCE_S):
            message = here.recv()
            if message[0] == "end":
                if message[1]:
                    heard(f"FAILS after '{last}':\n{message[1]}")
                return not message[1]
            heard(message)
            if isinstance(message, str):
                last = message
        heard(f"HANGS: silent for {SILENCE_S} s after '{last}'")
        process.kill()
    except EOFError:
        process.join(5)
        heard(f"DIED with exit code {process.exitcode} after '{last}'")
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()
    return False


def compile_one(build):
    name, dtype, defines = build
    return nvrtc.compile_kernel(name, dtype, nvrtc.target(name, "sm_90"), defines)[1]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--out", default=".")
    options.add_argument("--define", action="append", default=[])
    options.add_argument("--variant", action="append")
    options.add_argument("--budget", type=float, default=16.0, help="seconds of sustained load")
    options.add_argument("--no-checks", action="store_true")
    options.add_argument("--no-times", action="store_true")
    options = options.parse_args()
    common = [part for text in options.define for part in parse(text)]
    variants = [
        tuple(sorted({**dict(common), **dict(parse(text))}.items()))
        for text in (VARIANTS if options.variant is None else options.variant)
    ]
    variants = list(dict.fromkeys(variants))
    begin = time.time()
    transcript, numbers, passed = [], [], []

    def heard(message):
        if message[0] == "number":
            numbers.append(message[1:])
        elif message[0] == "passed":
            passed.append(True)
        else:
            line = f"[{time.time() - begin:5.1f}] {message}"
            transcript.append(line)
            # What comes next is of interest only if it does not come.
            if not message.startswith("next: "):
                print(line, flush=True)

    heard(f"torch {torch.__version__}, NVRTC {nvrtc.version()}")
    jobs = [("f16", variants[0], True), ("bf16", variants[0], False)]
    jobs += [("f16", defines, False) for defines in variants[1:]]
    builds = {("gelu", "f16", ()): None}
    for dtype, defines, _ in jobs:
        for depth in (64, 320, 640, 1280):
            for extra in ((), (LIMIT,)):
                builds[linear_gelu_build(dtype, depth, (*defines, *extra))] = None
    with ThreadPoolExecutor(16) as pool:
        for build, log in zip(builds, pool.map(compile_one, builds)):
            if log:
                heard(f"{build}: {log}")
    heard(f"{len(builds)} modules")

    good, failed = variants, 0
    if not options.no_checks:
        good = []
        while jobs:
            passed.clear()
            supervise(check_all, (jobs,), heard)
            good += [defines for dtype, defines, _ in jobs[: len(passed)] if dtype == "f16"]
            failed += len(passed) < len(jobs)
            jobs = jobs[len(passed) + 1 :]
    if good and not options.no_times:
        failed += not supervise(times, (good, options.budget), heard)
    heard(f"{failed} FAILED" if failed else "all right")
    os.makedirs(options.out, exist_ok=True)
    Path(options.out, "linear_gelu.txt").write_text("\n".join(transcript) + "\n")
    Path(options.out, "linear_gelu.json").write_text(json.dumps(numbers, indent=1))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
