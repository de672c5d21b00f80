"""The sequences of the GPU benchmarks, the same in `virnucpro bench` and in the peers.

Lengths count tokens, special tokens included:

* `fixed:N`: every sequence has N tokens;
* `proteome`: residues are lognormal with median 290 and sigma 0.75, rounded, clipped to 30..=1022,
  plus 2 special tokens.

Sequences are drawn until their tokens reach the number asked for, so the last one may pass it.

Random numbers are SplitMix64, all arithmetic modulo 2^64: output n (from 0) of a seed is

    z = seed + (n + 1) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)

and u(n) = (z >> 11) * 2^-53 in [0, 1). Sequence k (from 0) of `proteome` takes outputs 2k and
2k + 1 of seed 11, by Box-Muller, cosine branch only, in double precision:

    normal   = sqrt(-2 * ln(1 - u(2k))) * cos(2 * pi * u(2k + 1))
    residues = clip(floor(exp(ln(290) + 0.75 * normal) + 0.5), 30, 1022)

Token ids are uniform. All residues, in order of sequence and position, take outputs 0, 1, 2, ... of
seed 12: id = first + floor(u * count), between the two special tokens of the model's `Vocabulary`.

To check another implementation: `proteome` for 100,000 tokens is 293 sequences and 100,282 tokens,
beginning 278, 102, 191, 311, 563, 289, 1024, 307; the ids of its first sequence begin, for ESM-2,
0, 15, 22, 8, 22, 21, 9 and, for DNABERT-S, 1, 2374, 3848, 965, 3706, 3491, 1208.
"""

import math
from dataclasses import dataclass

import numpy as np

LENGTH_SEED = 11
ID_SEED = 12


@dataclass(frozen=True)
class Vocabulary:
    """Special tokens of a model, and the range of ids that stand for residues or words."""

    cls: int
    pad: int
    eos: int
    first: int
    count: int


ESM2 = Vocabulary(cls=0, pad=1, eos=2, first=4, count=20)
DNABERT_S = Vocabulary(cls=1, pad=3, eos=2, first=5, count=4091)


def uniforms(seed, start, count):
    """u(start) to u(start + count - 1) of a seed."""
    z = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z = np.uint64(seed) + z * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * 2.0**-53


def proteome_length(k):
    a, b = (float(u) for u in uniforms(LENGTH_SEED, 2 * k, 2))
    normal = math.sqrt(-2.0 * math.log(1.0 - a)) * math.cos(2.0 * math.pi * b)
    residues = math.floor(math.exp(math.log(290.0) + 0.75 * normal) + 0.5)
    return min(max(residues, 30), 1022) + 2


def lengths(name, tokens):
    """Lengths of the workload `name`, in the order drawn."""
    if name.startswith("fixed:"):
        seqlen = int(name.removeprefix("fixed:"))
        if seqlen < 3:
            raise ValueError(f"{name}: two special tokens and one residue are the least")
        return [seqlen] * -(-tokens // seqlen)
    if name != "proteome":
        raise ValueError(f"{name}: no such workload; there are fixed:N and proteome")
    found, total = [], 0
    while total < tokens:
        found.append(proteome_length(len(found)))
        total += found[-1]
    return found


def sequences(name, tokens, vocabulary):
    """Arrays of token ids (int64), special tokens included, in the order drawn."""
    seqlens = lengths(name, tokens)
    residues = uniforms(ID_SEED, 0, sum(seqlens) - 2 * len(seqlens))
    residues = vocabulary.first + np.floor(residues * vocabulary.count).astype(np.int64)
    found, start = [], 0
    for seqlen in seqlens:
        end = start + seqlen - 2
        found.append(np.concatenate(([vocabulary.cls], residues[start:end], [vocabulary.eos])))
        start = end
    return found
