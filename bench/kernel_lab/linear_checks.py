"""What is proven of a linear kernel before it is timed. Runs in a child process, and `say` sends a line to
the parent. For what an `operation` is see linear_cases.py.
"""

import torch
from linear_cases import LIMIT, POISON, STEP, compare, label, must_be_same, run, where


def check_all(operation, jobs, say):
    """Ends with the first job that fails, which may leave the process unfit for more."""
    for job in jobs:
        check_one(operation, *job, say)
        say(("passed",))


def check_one(operation, dtype, defines, full, say):
    say(f"checks of {label(defines)}, {dtype}")
    for extra in ((LIMIT,), ()):
        for what, case, wider in operation.exact(dtype):
            say(f"next: {what} {'with' if extra else 'without'} a limit")
            expected = operation.expected(case).double()
            compare(what, run(operation, case, (*defines, *extra)), expected, expected * 0)
            if not extra:
                expected = operation.expected(wider).double()
                out = run(operation, wider, defines)
                compare(what + ", more tiles", out, expected, expected * 0)
        if extra:
            for depth in (320, 2560):
                say(f"next: 1000 x 3072 x {depth} with a limit")
                check_random(operation, dtype, (*defines, *extra), 1000, 3072, depth)
    say("exact cases: right")
    say("next: random")
    worst, count = 0.0, 0
    for shape in operation.cases(full):
        worst = max(worst, check_random(operation, dtype, defines, *shape))
        count += 1
        if count % 16 == 0:
            say(f"next: random, {count} done, latest {' x '.join(map(str, shape))}")
    say(f"random: {count} shapes, worst error {worst:.3f} steps, nothing outside, nothing missing")
    say("next: company")
    check_company(operation, dtype, defines, say)
    say("next: races")
    check_races(operation, dtype, defines, say)
    operation.more(dtype, defines, say)


def check_random(operation, dtype, defines, rows, features, depth):
    case = operation.random(dtype, rows, features, depth)
    out = run(operation, case, defines)
    ref, bound = operation.reference(case)
    compare(case.shape, out, ref, bound, found_text=False)
    norm = float((out.double() - ref).norm() / ref.norm()) / STEP[dtype]
    if not norm <= 1:
        raise AssertionError(f"{case.shape}: error {norm:.3f} steps")
    return norm


def check_company(operation, dtype, defines, say):
    """A row's bits do not depend on its company, on the grid or on the run."""
    case = operation.random(dtype, 1000, 3072, 1280)
    out = run(operation, case, defines)
    for first, last in ((0, 1), (37, 38), (999, 1000), (100, 229), (300, 1000), (64, 192)):
        part = run(operation, case.rows(first, last), defines)
        must_be_same(f"rows {first}..{last} alone", part, out[first:last])
    for clusters in (1, 2, 7):
        must_be_same(f"on {clusters} clusters", run(operation, case, defines, clusters), out)
    case.x[5] = float("nan")
    case.x[131] = float("inf")
    other = run(operation, case, defines)
    others = [r for r in range(1000) if r not in (5, 131)]
    must_be_same("rows beside NaN", other[others], out[others])
    if not other[5].isnan().all():
        raise AssertionError("NaN is lost: " + where(~other[5:6].isnan()))
    say("company: rows alone, other grids and a row of NaN leave all bits as they are")


def check_races(operation, dtype, defines, say):
    for rows, features, depth in ((16384, 7680, 2560), (5000, 3840, 320), (20000, 1536, 640)):
        case = operation.random(dtype, rows, features, depth)
        out = run(operation, case, defines)
        again = torch.empty_like(out)
        launch = operation.launch(case, again, defines)
        for turn in range(15):
            again.view(torch.int16).fill_(POISON)
            launch()
            must_be_same(f"{case.shape} run {turn + 2}", again, out)
        say(f"next: races, after {case.shape}")
    say("races: 3 shapes, 16 runs each, always the same bits")
