"""What it is worth that tokens resemble each other: products of an ESM-2 layer at the chip's power limit, with
either operand as the one of which 256 rows pass by the matrix unit while 64 of the other stay.

    python3 bench/kernel_lab/linear_operands.py [--layers 12 20] [--seconds 0.4] [--turns 4]

Operands are independent numbers, or the activations and weights of layers of a network with random weights, which
torch computes first. Ours is linear_gelu with x and weights as they are called or exchanged, and its result
transposed; beside it torch.mm. All take turns, forwards and backwards; medians in milliseconds. Needs a Hopper GPU.
"""

import argparse
import statistics

import kernels as k
import torch
from linear_power import random
from linear_times import in_turns
from torch.nn import functional

HIDDEN, HEADS, SEQUENCES, LENGTH = 2560, 40, 201, 168
# As many as fill whole turns of tiles.
ROWS = 33792


def weights(outputs, inputs):
    return random(outputs, inputs, scale=0.02)


def rotated(x):
    angles = torch.arange(LENGTH, device="cuda")[:, None] / 10000 ** (torch.arange(32, device="cuda") / 32)
    cos, sin = angles.cos().half(), angles.sin().half()
    a, b = x[..., :32], x[..., 32:]
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def resemblance(x):
    """Mean cosine of a row and the next one."""
    return functional.cosine_similarity(x[:-1].float(), x[1:].float()).mean().item()


def layers(wanted):
    """(layer, {product: (x, weights)}) of a random network on sequences of 20 kinds of residues."""
    norm = [HIDDEN]
    ids = torch.randint(20, (SEQUENCES * LENGTH,), device="cuda")
    x = random(20, HIDDEN, scale=0.02)[ids]
    for layer in range(max(wanted) + 1):
        qkv = functional.layer_norm(x, norm) @ weights(3 * HIDDEN, HIDDEN).T
        q, key, v = qkv.view(SEQUENCES, LENGTH, 3, HEADS, 64).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(rotated(q), rotated(key), v)
        attended, square = mixed.transpose(1, 2).reshape(-1, HIDDEN), weights(HIDDEN, HIDDEN)
        x = x + attended @ square.T
        up, down = weights(4 * HIDDEN, HIDDEN), weights(HIDDEN, 4 * HIDDEN)
        between = functional.gelu(functional.layer_norm(x, norm) @ up.T)
        if layer in wanted:
            yield layer, {"square": (attended, square), "gelu": (x, up), "deep": (between, down)}
        x = x + between @ down.T


def filled(x):
    return torch.cat((x, x[: ROWS - len(x)])).contiguous()


def independent():
    wide = 4 * HIDDEN
    between = functional.gelu(random(ROWS, wide))
    return {
        "square": (random(ROWS, HIDDEN), weights(HIDDEN, HIDDEN)),
        "gelu": (random(ROWS, HIDDEN), weights(wide, HIDDEN)),
        "deep": (between, weights(HIDDEN, wide)),
    }


def launches(x, w):
    out, turned = random(len(x), len(w)), random(len(w), len(x))
    plain = k.linear_gelu("f16", x, w, None, out)
    exchanged = k.linear_gelu("f16", w, x, None, turned)
    plain(), exchanged()
    assert torch.equal(out.T, turned), "operands exchanged give other bits"
    by_torch = torch.empty_like(out)
    return {
        "weights pass by": plain,
        "rows of x pass by": exchanged,
        "torch.mm": lambda: torch.mm(x, w.T, out=by_torch),
    }


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--layers", type=int, nargs="+", default=[12, 20])
    options.add_argument("--seconds", type=float, default=0.4)
    options.add_argument("--turns", type=int, default=4)
    options = options.parse_args()
    sets = {"independent": independent()}
    for layer, products in layers(options.layers):
        sets[f"layer {layer}"] = {what: (filled(x), w) for what, (x, w) in products.items()}
    calls = {}
    for data, products in sets.items():
        for what, (x, w) in products.items():
            print(f"{data}, {what}: cosine of neighbouring rows {resemblance(x):.3f}", flush=True)
            for how, launch in launches(x, w).items():
                calls[what, how, data] = launch, 2 * x.numel() * len(w)
    times = in_turns(calls, options.seconds, options.turns)
    print(f"{torch.cuda.get_device_name()}, {ROWS} rows, f16, milliseconds")
    for what, how in dict.fromkeys((what, how) for what, how, _ in calls):
        each = "  ".join(f"{data} {statistics.median(times[what, how, data]):.4f}" for data in sets)
        print(f"{what:7} {how:18} {each}")


if __name__ == "__main__":
    main()
