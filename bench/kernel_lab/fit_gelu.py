"""Fits the polynomials of gelu_parts.cu: python3 bench/kernel_lab/fit_gelu.py (numpy, half a minute).

log2 P(X <= -t), X standard normal, as -1 + c1 t + c2 t^2 + ... by least squares whose weights move towards the
places of the largest error, which is one of P relative to itself. What is allowed, in units of the largest:
in f16 less for small t, where most numbers are, and more where a tenth of the smallest number is more; in bf16,
which has smaller numbers by far, six times as much at the end of its range as up to 5. Prints what remains of
it in f32, and that the polynomial falls beyond its range.
"""

import math

import numpy

NODES = 4000
F16_LEAST = 2.0**-24


def tail(t):
    """P(X <= -t)."""
    return numpy.array([0.5 * math.erfc(x / math.sqrt(2)) for x in t])


def allowed_f16(t, p):
    return numpy.maximum(1, F16_LEAST / 10 / 1e-4 / (t * p)) * numpy.minimum(1, 0.15 + 2 * t)


def allowed_bf16(t, p):
    return 1 + 5 * numpy.clip((t - 5) / (LARGEST["bf16"] - 5), 0, 1)


DEGREE = {"f16": 5, "bf16": 7}
LARGEST = {"f16": 5.6, "bf16": 12.9}
ALLOWED = {"f16": allowed_f16, "bf16": allowed_bf16}


def fit(degree, largest, allowed):
    """Coefficients and largest error in units of what is allowed."""
    angle = math.pi * (numpy.arange(NODES) + 0.5) / NODES
    t = largest / 2 - largest / 2 * numpy.cos(angle)
    p = tail(t)
    unit = allowed(t, p)
    terms = numpy.stack([t**i for i in range(1, degree + 1)], 1) / unit[:, None]
    exact = numpy.log(2 * p) / unit
    scale = numpy.abs(terms).max(0)
    weights = numpy.ones(NODES)
    best = math.inf, None
    for _ in range(3000):
        found = numpy.linalg.lstsq(terms * weights[:, None] / scale, exact * weights, rcond=None)[0] / scale
        error = numpy.abs(terms @ found - exact)
        if error.max() < best[0]:
            best = error.max(), found / math.log(2)
        weights *= (error / error.max() + 1e-3) ** 0.2
        weights /= weights.max()
    return best[0], [-1.0, *best[1]]


def value(coefficients, t):
    """P as the kernel computes it, in f32."""
    t = t.astype(numpy.float32)
    result = numpy.full_like(t, coefficients[-1])
    for c in coefficients[-2::-1]:
        result = result * t + numpy.float32(c)
    return numpy.exp2(result.astype(float))


for name, largest in LARGEST.items():
    error, coefficients = fit(DEGREE[name], largest, ALLOWED[name])
    t = numpy.linspace(0, largest, 100001)
    relative = numpy.abs(value(coefficients, t) / tail(t) - 1)
    far = value(coefficients, numpy.linspace(largest, 70000, 100001))
    print(f"{name}: {', '.join(f'{c:.9e}f' for c in coefficients)}")
    print(f"  relative error {relative[t <= 4.4].max():.1e} up to 4.4, {relative.max():.1e} up to {largest};")
    print(f"  {error:.1e} in units of what is allowed; falls beyond: {bool((numpy.diff(far) <= 0).all())}")
