"""Times of a linear kernel beside cuBLAS followed by the kernel that it takes the place of: bursts on a
rested chip, and long runs at its power limit. Runs in a child process, and `say` sends a line to the
parent. For what an `operation` is see linear_cases.py.
"""

import ctypes
import math
import time

import torch
from linear_cases import label


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


def in_turns(calls, seconds, turns):
    """Milliseconds of every turn of each call, `seconds` long at 650 TFLOP/s; `calls`: a launch and its operations."""
    times = {name: [] for name in calls}
    # The first turn brings the chip to its limit.
    for turn in range(turns + 1):
        for name in sorted(calls, reverse=turn % 2 > 0):
            launch, operations = calls[name]
            count = max(4, int(seconds * 650e12 / operations))
            timed(launch, count // 4)
            start, end = timed(launch, count)
            end.synchronize()
            if turn:
                times[name].append(start.elapsed_time(end) / count)
    return times


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


def time_shape(operation, shape, variants, tries, budget, meter, say):
    """Long-run milliseconds of each variant."""
    rows, features, depth = shape
    case = operation.random("f16", rows, features, depth)
    x, weights, bias = case.x, case.weights, case.bias
    out = torch.empty(rows, features, dtype=torch.float16, device="cuda")
    products = {
        "addmm": lambda: torch.addmm(bias, x, weights.T, out=out),
        "mm": lambda: torch.mm(x, weights.T, out=out),
    }
    alone = {name: burst(call, tries) for name, call in products.items()}
    form = min(alone, key=alone.get)
    products[form]()
    second = operation.second(case, out)

    def both():
        products[form]()
        second()

    baseline = f"cuBLAS {form} + {operation.after}"
    calls = {f"cuBLAS {form}": products[form], baseline: both}
    for defines in variants:
        calls[label(defines)] = operation.launch(case, out, defines)
    bursts = {name: burst(call, tries) for name, call in calls.items()}
    seconds = budget / len(calls)
    # The chip is brought to its power limit first.
    for _ in range(int(400 / bursts[baseline])):
        both()
    means = sustained(calls, bursts, seconds, meter, say)
    say(
        f"rows {rows}, features {features}, depth {depth}: burst addmm {alone['addmm']:.3f} ms, "
        f"mm {alone['mm']:.3f} ms, {operation.after} {burst(second, 1):.3f} ms; then {seconds:.1f} s each"
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


def times(operation, variants, budget, say):
    say(f"times, f16; ratio: to the time of cuBLAS + {operation.after}; J: energy of a call")
    meter, shapes = Meter(), operation.shapes
    found = time_shape(operation, shapes[0], variants, 3, budget / 2, meter, say)
    # Elsewhere the first variant and the best one.
    few = list(dict.fromkeys([variants[0], min(found, key=found.get)]))
    for shape in shapes[1:]:
        torch.cuda.empty_cache()
        time_shape(operation, shape, few, 1, budget / 2 / len(shapes[1:]), meter, say)
