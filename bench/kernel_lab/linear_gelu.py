"""Proves and times linear_gelu_wgmma.cu beside cuBLAS followed by gelu.cu; needs a Hopper GPU.

    python3 bench/kernel_lab/linear_gelu.py [--out FOLDER] [--define NAME=VALUE ...]
        [--variant NAME=VALUE,NAME=VALUE ...] [--budget SECONDS] [--no-checks] [--no-times]

Every variant has the macros of --define and its own; without --variant a few are taken. All GPU work is
done in child processes, which are killed when they say nothing for 20 s, so that a kernel that hangs costs
no more. First come exact cases, in which a wrong place of an operand can be read from the result, then
random ones against float64. A variant that fails is not timed. Exit status 1 if one fails.
"""

import itertools

import kernels as k
import linear_lab
import torch
from linear_cases import STEP, exact_products, random_case

ROWS = (1, 17, 127, 128, 129, 300, 1000, 16384)
DEPTHS, FEATURES = (320, 640, 1280, 2560), (1280, 2560, 5120, 10240)


class Gelu:
    name, after = "linear_gelu", "gelu"
    variants = ("", "PARTS=8", "CLUSTER=1")
    # ESM-2 3B with two batch sizes, then 650M.
    shapes = ((16384, 10240, 2560), (32768, 10240, 2560), (16384, 5120, 1280), (32768, 5120, 1280))
    random = staticmethod(random_case)

    def cases(self, full):
        if full:
            return list(itertools.product(ROWS, FEATURES, DEPTHS))
        return list(itertools.product((1, 129, 1000, 16384), (1280, 10240), (320, 2560)))

    def modules(self, dtype):
        return [("gelu", dtype, ())]

    def build(self, dtype, depth, defines):
        return k.linear_build("linear_gelu", dtype, depth, defines)

    def launch(self, case, out, defines, clusters=None):
        return k.linear_gelu(case.dtype, case.x, case.weights, case.bias, out, defines, clusters)

    def second(self, case, out):
        return k.gelu(case.dtype, out)

    def exact(self, dtype):
        return ((what, case, case.repeated(300, 5)) for what, case in exact_products(dtype))

    def expected(self, case):
        # Of 16 and more GELU is the identity, and of 0.
        return case.product()

    def reference(self, case):
        before = case.product()
        ref = torch.nn.functional.gelu(before)
        # Rounded before GELU, whose slope is at most 1.13, and after; sums in f32.
        return ref, STEP[case.dtype] * (1.2 * before.abs() + ref.abs()) + 2e-4

    def more(self, dtype, defines, say):
        pass


if __name__ == "__main__":
    linear_lab.main(Gelu())
