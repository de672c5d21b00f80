"""Proves and times linear_rotary_wgmma.cu beside cuBLAS followed by rotary.cu; needs a Hopper GPU.

    python3 bench/kernel_lab/linear_rotary.py [--out FOLDER] [--define NAME=VALUE ...]
        [--variant NAME=VALUE,NAME=VALUE ...] [--budget SECONDS] [--no-checks] [--no-times]

Options, order and exit status are those of linear_gelu.py. Beside its checks, the bits must be those of
rotary.cu after the same sums, which the kernel gives when it is told to rotate nothing.
"""

import itertools
from dataclasses import replace

import kernels as k
import linear_lab
import torch
from kernels import TORCH
from linear_cases import STEP, compare, exact_products, must_be_same, random_case, run

HEAD_DIM, POSITIONS = 64, 1024
ROWS, HIDDEN = (1, 17, 127, 128, 129, 300, 1000, 16384), (256, 1280, 2560, 5120)
# A position that is not in the table: who reads past the last row's goes astray.
NOWHERE = 1 << 26


def with_rows(positions):
    """The same with more behind them that nobody may use."""
    behind = torch.full((40,), NOWHERE, dtype=torch.int32, device=positions.device)
    return torch.cat((positions.int(), behind))[: len(positions)]


def packed(rows):
    """Positions of sequences of many lengths, one after the other."""
    generator = torch.Generator().manual_seed(rows)
    lengths = torch.randint(1, POSITIONS + 1, (rows // 16 + 1,), generator=generator).tolist()
    # Short ones as well, and enough of them.
    parts = [torch.arange(n) for n in (1, 2, 7, *lengths, *[POSITIONS] * (rows // POSITIONS + 1))]
    return with_rows(torch.cat(parts)[:rows].to("cuda"))


def angles(dtype):
    table = torch.full((POSITIONS, HEAD_DIM // 2, 2), float("nan"), device="cuda")
    k.rotary_table(dtype, table, HEAD_DIM, 10000.0)()
    return table


def halves(case, values):
    """Of the features that are rotated: first and second halves of heads, and cosines and sines for them."""
    heads = values[:, : case.rotated].unflatten(1, (case.rotated // HEAD_DIM, 2, HEAD_DIM // 2))
    cos_sin = case.table[case.positions.long()][:, None]
    return heads[:, :, 0], heads[:, :, 1], cos_sin[..., 0], cos_sin[..., 1]


def whole(case, values, low, high):
    """`values` with the features that are rotated put back."""
    return torch.cat((torch.stack((low, high), 2).flatten(1), values[:, case.rotated :]), 1)


class Rotary:
    name, after = "linear_rotary", "rotary"
    variants = ("", "PARTS=8", "CLUSTER=1")
    # q, k and v of ESM-2 3B with two batch sizes, then of 650M.
    shapes = ((16384, 7680, 2560), (32768, 7680, 2560), (16384, 3840, 1280), (32768, 3840, 1280))

    def cases(self, full):
        rows, hidden = (ROWS, HIDDEN) if full else ((1, 129, 1000, 16384), (256, 2560))
        return [(r, 3 * h, h) for r, h in itertools.product(rows, hidden)]

    def modules(self, dtype):
        return [("rotary", dtype, ())]

    def build(self, dtype, depth, defines):
        return k.linear_build("linear_rotary", dtype, depth, defines)

    def launch(self, case, out, defines, clusters=None):
        rotary = case.positions, case.table, case.rotated
        return k.linear_rotary(case.dtype, case.x, case.weights, case.bias, out, *rotary, defines, clusters)

    def second(self, case, out):
        heads = case.rotated // 2 // HEAD_DIM
        return k.rotary(case.dtype, out, case.positions, case.table, heads, HEAD_DIM)

    def random(self, dtype, rows, features, depth):
        case = random_case(dtype, rows, features, depth)
        return replace(case, positions=packed(rows), table=angles(dtype), rotated=features // 3 * 2)

    def exact(self, dtype):
        products = list(exact_products(dtype))
        p = torch.arange(POSITIONS, device="cuda")[:, None].expand(-1, HEAD_DIM // 2)
        i = torch.arange(HEAD_DIM // 2, device="cuda").expand(POSITIONS, -1)
        # Numbers that every element type holds.
        quarter, by_row, cosines, sines = (
            torch.stack(pair, -1).float().contiguous()
            for pair in ((0 * i, 1 + 0 * i), (1 + p % 256, 0 * p), (1 + i, 0 * i), (0 * i, 1 + i))
        )
        # Sums that are all one.
        what, case = products[-1]
        ones = replace(case, x=case.x * 0, bias=torch.ones_like(case.bias))
        plain = [(f"{what}, no rotation", case, quarter, 0) for what, case in products]
        turned = [(f"{what}, a quarter turn", case, quarter, 1) for what, case in products]
        real = [(f"{what}, rotated", case, angles(dtype), 1) for what, case in products]
        told = [("row -> position", by_row), ("column -> cosine", cosines), ("column -> sine", sines)]
        for what, case, table, share in (*plain, *turned, *real, *((what, ones, t, 1) for what, t in told)):
            one = replace(case, positions=packed(len(case.x)), table=table, rotated=256 * share)
            # Whole tiles of q, k and v.
            wider = one.repeated(300, 3)
            yield what, one, replace(wider, positions=packed(300), rotated=512 * share)

    def expected(self, case):
        """In f32 as `rotate_pair` does it; float64 holds the products of elements and f32 exactly."""
        product = case.product().to(TORCH[case.dtype])
        low, high, cos, sin = (t.double() for t in halves(case, product))
        low, high = low * cos - (high * sin).float(), high * cos + (low * sin).float()
        low, high = (t.float().to(TORCH[case.dtype]) for t in (low, high))
        return whole(case, product, low, high)

    def reference(self, case):
        product = case.product()
        low, high, cos, sin = halves(case, product)
        ref = whole(case, product, low * cos - high * sin, high * cos + low * sin)
        # Rounded before, in both of a pair, and after; sums in f32.
        low, high, cos, sin = (t.abs() for t in (low, high, cos, sin))
        before = whole(case, product.abs(), low * cos + high * sin, high * cos + low * sin)
        return ref, STEP[case.dtype] * (before + ref.abs()) + 2e-4

    def more(self, dtype, defines, say):
        say("next: rotary.cu after the same sums, then after cuBLAS")
        apart = 0.0
        for rows, hidden in ((1, 256), (300, 1280), (1000, 2560), (16384, 2560)):
            case = self.random(dtype, rows, 3 * hidden, hidden)
            out = run(self, case, defines)
            sums = run(self, replace(case, rotated=0), defines)
            product = torch.addmm(case.bias, case.x, case.weights.T)
            v = out[:, case.rotated :]
            must_be_same(f"{case.shape}: v", v, sums[:, case.rotated :])
            for two in (sums, product):
                self.second(case, two)()
            must_be_same(f"{case.shape}: rotary.cu after the same sums", out, sums)
            # cuBLAS may add in another order, which moves a sum by a step of rounding.
            _, bound = self.reference(case)
            compare(f"{case.shape}: cuBLAS + rotary.cu", out, product.double(), 2 * bound, found_text=False)
            apart = max(apart, float((out != product).double().mean()))
        say(f"rotary.cu after the same sums: same bits; after cuBLAS: at most {100 * apart:.3f} % differ")


if __name__ == "__main__":
    linear_lab.main(Rotary())
