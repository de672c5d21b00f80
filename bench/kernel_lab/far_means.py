"""What a row's mean costs behind a LayerNorm that is folded into weights: python3 bench/kernel_lab/far_means.py

A model of folded_norm.cu and linear_gelu_wgmma.cu in numpy, with float64 instead of f32 sums. For means of so
many deviations, prints how many of 36 random layers are further from the exact result than OPERATION_F16 and
OPERATION_BF16 of crates/backend/src/tolerance.rs allow, and the worst found. Needs no GPU.
"""

import math

import numpy

SHAPES = ((300, 768, 512), (40, 512, 256), (130, 1280, 256))
DRAWS = 12
# Largest difference and smallest cosine of a row.
TOLERANCES = {"f16": (5e-3, 0.999999), "bf16": (4e-2, 0.99995)}
erf = numpy.vectorize(math.erf)


def stored(x, dtype):
    """Rounded to the nearest element."""
    if dtype == "f16":
        return x.astype(numpy.float16).astype(numpy.float64)
    bits = numpy.asarray(x, numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000
    return bits.astype(numpy.uint32).view(numpy.float32).astype(numpy.float64)


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def found(dtype, shape, deviations, random):
    """Largest difference, smallest cosine of a row."""
    rows, inputs, outputs = shape

    def uniform(*shape, scale=1.0):
        return stored(random.uniform(-scale, scale, shape), dtype)

    gamma, beta = uniform(inputs, scale=1.5), uniform(inputs, scale=0.5)
    weights, bias = uniform(outputs, inputs, scale=(3 / inputs) ** 0.5), uniform(outputs, scale=0.5)
    # A uniform variable on -1..1 has deviation 1 / sqrt 3.
    x = stored(random.uniform(-1, 1, (rows, inputs)) + deviations / math.sqrt(3), dtype)
    mean = x.mean(1, keepdims=True)
    deviation = numpy.sqrt(x.var(1, keepdims=True) + 1e-5)
    exact = gelu(((x - mean) / deviation * gamma + beta) @ weights.T + bias)
    folded = weights * gamma
    folded = stored(folded - folded.mean(1, keepdims=True), dtype)
    folded_bias = stored(bias + weights @ beta, dtype)
    out = stored(gelu(stored(x @ folded.T / deviation + folded_bias, dtype)), dtype)
    lengths = numpy.sqrt((out**2).sum(1) * (exact**2).sum(1))
    return abs(out - exact).max(), ((out * exact).sum(1) / lengths).min()


for dtype, (most, least) in TOLERANCES.items():
    for deviations in (0, 2, 3, 3.5, 4, 4.5, 5, 6, 7, 8):
        random = numpy.random.default_rng(1)
        each = [found(dtype, shape, deviations, random) for shape in SHAPES for _ in range(DRAWS)]
        missed = sum(difference > most or cosine < least for difference, cosine in each)
        worst, cosine = max(d for d, _ in each), min(c for _, c in each)
        print(f"{dtype} {deviations:3} deviations: {missed:2} of {len(each)} missed, {worst:.1e}, {cosine:.8f}")
