"""Fits the polynomial of gelu_parts.cu: python3 bench/kernel_lab/fit_gelu.py (numpy, a second).

G(t) = exp(t^2 / 2) P(X <= -t), X standard normal, as c1 u + ... + c5 u^5 with u = 1 / (1 + p t), by least
squares whose weights move towards the places of the largest relative error.
"""

import math

import numpy

LARGEST = 14.0
NODES = 4000


def fit(p, degree=5):
    """Coefficients and largest relative error over t = 0..LARGEST."""
    lowest = 1 / (1 + p * LARGEST)
    angle = math.pi * (numpy.arange(NODES) + 0.5) / NODES
    u = (1 + lowest) / 2 + (1 - lowest) / 2 * numpy.cos(angle)
    t = (1 / u - 1) / p
    exact = [0.5 * math.erfc(x / math.sqrt(2)) * math.exp(x * x / 2) for x in t]
    terms = numpy.stack([u**i / exact for i in range(1, degree + 1)], 1)
    weights = numpy.ones(NODES)
    for _ in range(200):
        found = numpy.linalg.lstsq(terms * weights[:, None], weights, rcond=None)[0]
        error = numpy.abs(terms @ found - 1)
        weights *= (error / error.max() + 1e-3) ** 0.3
        weights /= weights.max()
    return found, error.max()


for p in (0.325, 0.35, 0.375, 0.4, 0.425):
    coefficients, error = fit(p)
    print(f"p {p}: relative error {error:.2e}, {', '.join(f'{c:.10f}' for c in coefficients)}")
