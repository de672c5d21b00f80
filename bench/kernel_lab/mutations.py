"""Breaks kernels on purpose and sees that a check notices: `lab.py --mutations`.

Each mutation of broken_kernels.py replaces a piece of source that must be there and runs the checks of that
kernel until one misses its bound. All are compiled first, side by side.
"""

from concurrent.futures import ThreadPoolExecutor

import check
import check_linear
import driver
import nvrtc
import torch
from broken_kernels import MUTATIONS

CHECKS = {case.__name__: case for case in (*check.CHECKS, *check_linear.CHECKS)}


def caught(case):
    """Whether a check of `case` misses its bound."""
    torch.manual_seed(1)
    return any(not measured <= bound for _, measured, bound in case("f16"))


def modules(case):
    """Whether a check misses a bound of kernels that are whole, and the modules that it loads."""
    asked, cubin = set(), driver.cubin

    def note(*build):
        asked.add(build)
        return cubin(*build)

    driver.function.cache_clear()
    driver.cubin = note
    try:
        return caught(case), asked
    finally:
        driver.cubin = cubin


def survivors():
    """Mutations that no check noticed, and other reasons why they prove nothing."""
    left, jobs, broken = [], [], {}
    known = {case: modules(CHECKS[case]) for case in dict.fromkeys(case for *_, case in MUTATIONS)}
    for kernel, what, piece, replacement, case in MUTATIONS:
        original = nvrtc.source_of(kernel)
        misses, asked = known[case]
        builds = [build for build in asked if build[0] == kernel]
        if misses or not builds or piece not in original:
            why = f"the piece is not there, or {case} does not load it, or misses anyway"
            left.append(f"{kernel}, {what}: {why}")
            continue
        source = original.replace(piece, replacement)
        jobs += [((kernel, what), build, source) for build in builds]
    with ThreadPoolExecutor(12) as pool:
        for (mutation, build, _), cubin in zip(jobs, pool.map(compile_broken, jobs)):
            broken.setdefault(mutation, {})[build] = cubin
    whole = driver.cubin
    for kernel, what, *_, case in MUTATIONS:
        if (kernel, what) not in broken:
            continue
        mine = broken[kernel, what]
        driver.cubin = lambda *build, mine=mine: mine.get(build) or whole(*build)
        driver.function.cache_clear()
        noticed = caught(CHECKS[case])
        print(f"{'caught' if noticed else 'NOT CAUGHT'}: {kernel}, {what}", flush=True)
        if not noticed:
            left.append(f"{kernel}: {what}")
    driver.cubin = whole
    driver.function.cache_clear()
    return left


def compile_broken(job):
    _, (name, dtype, defines), source = job
    return nvrtc.compile_kernel(name, dtype, nvrtc.target(name, driver.arch()), defines, source=source)[0]
