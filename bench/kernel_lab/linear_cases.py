"""Inputs of the linear kernels, their runs and the comparison of results; used by linear_checks.py.

What differs between the kernels is an `operation` (linear_gelu.py, linear_rotary.py): an object with
    name, after            of the kernel, and of the one that it takes the place of
    variants, shapes       macros to try and (rows, features, depth) to time, without options
    cases(full)            (rows, features, depth) of random checks
    modules(dtype)         other modules it needs
    build(dtype, depth, defines)
    launch(case, out, defines, clusters)
    second(case, out)      the launch that it takes the place of, behind a linear layer
    random(...)            a Case, as `random_case`
    exact(dtype)           (what, Case, wider Case) whose results are known exactly
    expected(case)         these results
    reference(case)        float64 results of a random case, and how far off each may be
    more(dtype, defines, say)  checks that it has alone
"""

from dataclasses import dataclass, replace

import torch
from kernels import TORCH

# Rounding of one stored value, relative.
STEP = {"f16": 2.0**-11, "bf16": 2.0**-8}
# An ordinary NaN that arithmetic does not make.
POISON = 0x7FA5
# Polls of a barrier before the kernel gives up, half a second or so; in the first checks only.
LIMIT = ("WAIT_LIMIT", "10000000")


def label(defines):
    return " ".join(f"{name}={value}" for name, value in defines) or "as written"


@dataclass
class Case:
    dtype: str
    x: torch.Tensor
    weights: torch.Tensor
    bias: torch.Tensor
    # Of the rotary embedding: a position for each row, the table of angles, features that are rotated.
    positions: torch.Tensor = None
    table: torch.Tensor = None
    rotated: int = 0

    @property
    def shape(self):
        return f"{len(self.x)} x {len(self.weights)} x {self.x.shape[1]}"

    def rows(self, first, last):
        positions = None if self.positions is None else self.positions[first:last]
        return replace(self, x=self.x[first:last], positions=positions)

    def repeated(self, rows, wide):
        """`rows` rows and `wide` times the features."""
        times = -(-rows // len(self.x))
        x, weights = self.x.repeat(times, 1)[:rows].contiguous(), self.weights.repeat(wide, 1).contiguous()
        return replace(self, x=x, weights=weights, bias=self.bias.repeat(wide))

    def product(self):
        """The linear layer in float64."""
        return torch.addmm(self.bias.double(), self.x.double(), self.weights.double().T)


def run(operation, case, defines, clusters=None):
    """The result, after a look at the rows behind it."""
    rows, features = len(case.x), len(case.weights)
    whole = torch.full((rows + 40, features), POISON, dtype=torch.int16, device="cuda")
    out = whole[:rows].view(TORCH[case.dtype])
    operation.launch(case, out, defines, clusters)()
    torch.cuda.synchronize()
    behind = (whole[rows:] != POISON).nonzero()
    if len(behind):
        row, col = behind[0].tolist()
        raise AssertionError(f"{len(behind)} elements written past the last row: row +{row}, column {col}")
    missing = whole[:rows] == POISON
    if missing.any():
        raise AssertionError("not written: " + where(missing))
    return out


def same(a, b):
    return torch.equal(a.view(torch.int16), b.view(torch.int16))


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


def must_be_same(what, out, expected):
    if not same(out, expected):
        raise AssertionError(f"{what}: " + where(out.view(torch.int16) != expected.view(torch.int16)))


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


def exact_products(dtype):
    """(what, Case) of one tile and one stage with whole results of 16 and more (of 0 where not told)."""
    rows, features, depth = 128, 256, 64
    r = torch.arange(rows, device="cuda")[:, None]
    f = torch.arange(features, device="cuda")[:, None]
    k = torch.arange(depth, device="cuda")[None]
    # bf16 holds whole numbers to 256.
    cap = 2048 if dtype == "f16" else 256

    def matrix(values, shape):
        return values.broadcast_to(shape).to(TORCH[dtype]).contiguous()

    def case(x, weights, bias=None):
        bias = torch.zeros(features, 1, device="cuda") if bias is None else bias
        biases = matrix(bias, (features, 1)).flatten()
        return Case(dtype, matrix(x, (rows, depth)), matrix(weights, (features, depth)), biases)

    one_x, one_w = (k == r % depth), (k == f % depth)
    wide = (16 + f) % cap + 16 * ((16 + f) >= cap)
    yield "column -> feature", case(one_x, wide)
    yield "row -> depth of x, weights", case(one_x, 16 + k)
    yield "row -> row of x", case(16 + r, one_w)
    yield "column -> depth of x", case(16 + k, one_w)
    yield "bias alone", case(k * 0, k * 0, wide)
    yield "sum of ones is 64", case(k * 0 + 1, k * 0 + 1)


def random_case(dtype, rows, features, depth):
    x = torch.randn(rows, depth, device="cuda")
    # Some rows reach both tails of GELU.
    x[::7] *= 6
    weights = torch.randn(features, depth, device="cuda") * depth**-0.5
    bias = torch.randn(features, device="cuda") * 0.5
    return Case(dtype, *(t.to(TORCH[dtype]) for t in (x, weights, bias)))
