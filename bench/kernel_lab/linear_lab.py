"""The run of linear_gelu.py and linear_rotary.py: options, compilation, checks, times and a transcript. The
GPU work is done in child processes; this one never touches the GPU.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("KERNEL_LAB_CACHE", f"{tempfile.gettempdir()}/kernel_lab_cache")

import nvrtc
import torch
from linear_cases import LIMIT
from linear_checks import check_all
from linear_times import times
from supervise import supervise


def parse(text):
    """("A", "1"), ... of "A=1,...": in this form macros travel."""
    return tuple(sorted(tuple((part + "=1").split("=")[:2]) for part in text.split(",") if part))


def compile_one(build):
    name, dtype, defines = build
    return nvrtc.compile_kernel(name, dtype, nvrtc.target(name, "sm_90"), defines)[1]


def main(operation):
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
        for text in (operation.variants if options.variant is None else options.variant)
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
    builds = dict.fromkeys(operation.modules("f16") + operation.modules("bf16"))
    for dtype, defines, _ in jobs:
        # Of each number of parts that a depth allows.
        for depth in (64, 320, 640, 1280):
            for extra in ((), (LIMIT,)):
                builds[operation.build(dtype, depth, (*defines, *extra))] = None
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
            supervise(check_all, (operation, jobs), heard)
            good += [defines for dtype, defines, _ in jobs[: len(passed)] if dtype == "f16"]
            failed += len(passed) < len(jobs)
            jobs = jobs[len(passed) + 1 :]
    if good and not options.no_times:
        failed += not supervise(times, (operation, good, options.budget), heard)
    heard(f"{failed} FAILED" if failed else "all right")
    os.makedirs(options.out, exist_ok=True)
    Path(options.out, f"{operation.name}.txt").write_text("\n".join(transcript) + "\n")
    Path(options.out, f"{operation.name}.json").write_text(json.dumps(numbers, indent=1))
    sys.exit(failed > 0)
