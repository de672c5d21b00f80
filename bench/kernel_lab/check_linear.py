"""The kernels around linear layers that have no run of their own, against float64: the products with gated
GELU and with a residual, those behind a folded LayerNorm, and the folding. Run through lab.py, as check.py.
"""

import kernels as k
import torch
from check import STEP, error, poisoned, random, same
from driver import arch

# Columns that a product with a residual tells the moments of.
TILE = 64


def hopper(dtype):
    return dtype != "f32" and arch() == "sm_90"


def steps(dtype, out, ref):
    """Error in roundings of a stored value."""
    return error(out, ref) / STEP[dtype]


def uneven(rows, cols, dtype):
    """Rows of all sizes, around means that differ from tile to tile."""
    size = 0.1 + torch.arange(rows, device="cuda")[:, None] % 5
    tile = (torch.arange(cols, device="cuda")[None] // TILE) / 4
    return ((torch.randn(rows, cols, device="cuda") * (1 + tile) + 0.4 * tile) * size).to(k.TORCH[dtype])


def check_far_means(dtype):
    """Rows are given up from a mean of 3.5 deviations on, by either kernel."""
    if not hopper(dtype):
        return
    means = 3.5 * 0.5 * torch.tensor([0.0, 0.98, -0.98, 1.02, -1.02], device="cuda")
    # Two values beside each mean, so that the deviation is 0.5.
    signs = 1 - 2 * (torch.arange(512, device="cuda") % 2)
    x = (means[:, None] + 0.5 * signs).to(k.TORCH[dtype]).contiguous()
    scales = poisoned(len(x))
    k.scales_of_rows(dtype, x, scales, 0.0)()
    given_up = torch.tensor([False, False, False, True, True], device="cuda")
    yield "scales_of_rows, far means", int((scales.isnan() != given_up).sum()), 0
    tiles = x.float().unflatten(1, (512 // TILE, TILE)).transpose(0, 1)
    moments = torch.stack((tiles.mean(-1), tiles.var(-1, unbiased=False) * TILE), -1).contiguous()
    scales = poisoned(len(x))
    k.scales_of_tiles(dtype, moments, scales, 512, 0.0)()
    yield "scales_of_tiles, far means", int((scales.isnan() != given_up).sum()), 0


def check_gated(dtype):
    if not hopper(dtype):
        return
    for rows, depth, width in ((1, 64, 1024), (300, 192, 384), (129, 1280, 256), (5000, 768, 3072)):
        x = random(rows, depth, dtype=dtype)
        weights = random(2 * width, depth, dtype=dtype, scale=depth**-0.5)
        out = poisoned(rows, width, dtype=dtype)
        k.linear_gated(dtype, x, weights, out)()
        product = x.double() @ weights.double().T
        ref = torch.nn.functional.gelu(product[:, :width]) * product[:, width:]
        yield f"linear_gated {rows} x {depth} x {width}", steps(dtype, out, ref), 1
        few = poisoned(min(rows, 37), width, dtype=dtype)
        k.linear_gated(dtype, x[: len(few)], weights, few)()
        yield f"linear_gated {rows} alone differs", 1 - same(few, out[: len(few)]), 0


def check_residual(dtype):
    if not hopper(dtype):
        return
    shapes = (1, 64, 256), (300, 192, 768), (129, 1280, 256), (5000, 640, 1280), (1000, 1280, 768), (600, 768, 512)
    for rows, depth, features in shapes:
        x = random(rows, depth, dtype=dtype)
        weights = random(features, depth, dtype=dtype, scale=depth**-0.5)
        bias, before = random(features, dtype=dtype), uneven(rows, features, dtype)
        tiles, out = features // TILE, before.clone()
        moments = poisoned(tiles, rows, 2)
        k.linear_residual(dtype, x, weights, bias, out, moments)()
        ref = torch.addmm(bias.double(), x.double(), weights.double().T) + before.double()
        name = f"linear_residual {rows} x {depth} x {features}"
        yield name, steps(dtype, out, ref), 1
        stored = out.double().unflatten(1, (tiles, TILE)).transpose(0, 1)
        squares = stored.var(-1, unbiased=False) * TILE
        yield f"{name} means", error(moments[..., 0], stored.mean(-1)), 1e-5
        yield f"{name} squares", error(moments[..., 1], squares), 1e-5
        scales = poisoned(rows)
        k.scales_of_tiles(dtype, moments, scales, features, 1e-5)()
        deviation = (out.double().var(1, unbiased=False) + 1e-5).sqrt()
        yield f"scales_of_tiles {rows} x {features}", error(scales, 1 / deviation), 1e-5
        again, of_one = before.clone(), poisoned(tiles, rows, 2)
        more = again, of_one
        k.linear("linear_residual", dtype, x, weights, bias, again, more, clusters=1)()
        differs = 2 - same(again, out) - same(of_one, moments)
        yield f"{name}: all tiles by one cluster differ", differs, 0
    yield from residual_again(dtype, 40000, 1280, 1280)


def residual_again(dtype, rows, depth, features):
    """A race shows as other bits in another run."""
    x = random(rows, depth, dtype=dtype)
    weights = random(features, depth, dtype=dtype, scale=depth**-0.5)
    before = uneven(rows, features, dtype)
    runs = []
    for _ in range(16):
        out, moments = before.clone(), poisoned(features // TILE, rows, 2)
        k.linear_residual(dtype, x, weights, None, out, moments)()
        runs.append((out, moments))
        differs = 2 - same(out, runs[0][0]) - same(moments, runs[0][1])
        yield f"linear_residual {rows} x {depth} x {features}: another run differs", differs, 0
        del runs[1:]


def check_folded_norm(dtype):
    if not hopper(dtype):
        return
    for stored_type, (rows, depth, features) in zip(
        ("f32", "f16", "bf16"), ((300, 768, 512), (129, 1280, 256), (1000, 64, 256))
    ):
        stored = random(features, depth, dtype=stored_type, scale=depth**-0.5)
        bias, gamma, beta = random(features), random(depth), random(depth)
        weights = poisoned(features, depth, dtype=dtype)
        folded_bias = poisoned(features, dtype=dtype)
        k.fold(stored_type, dtype, stored, bias, gamma, beta, weights, folded_bias)()
        exact = stored.double() * gamma.double()
        exact -= exact.mean(1, keepdim=True)
        yield f"fold_{stored_type} weights", steps(dtype, weights, exact), 0.7
        exact_bias = bias.double() + stored.double() @ beta.double()
        yield f"fold_{stored_type} bias", steps(dtype, folded_bias, exact_bias), 0.7
        x, scales = uneven(rows, depth, dtype), poisoned(rows)
        k.scales_of_rows(dtype, x, scales, 1e-5)()
        deviation = (x.double().var(1, unbiased=False) + 1e-5).sqrt()
        yield f"scales_of_rows {rows} x {depth}", error(scales, 1 / deviation), 1e-5
        out = poisoned(rows, features, dtype=dtype)
        k.linear_gelu(dtype, x, weights, folded_bias, out, scales=scales)()
        normed = (x.double() - x.double().mean(1, keepdim=True)) / deviation[:, None]
        normed = normed * gamma.double() + beta.double()
        ref = torch.nn.functional.gelu(normed @ stored.double().T + bias.double())
        name = f"norm and linear_gelu {rows} x {depth} x {features}"
        yield name, steps(dtype, out, ref), 2
        again = poisoned(rows, features, dtype=dtype)
        k.linear_gelu(dtype, x, weights, folded_bias, again, clusters=1, scales=scales)()
        yield f"{name}: all tiles by one cluster differ", 1 - same(again, out), 0


CHECKS = (check_gated, check_residual, check_far_means, check_folded_norm)
