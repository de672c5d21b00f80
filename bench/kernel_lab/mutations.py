"""Breaks kernels on purpose and sees that a check notices: `lab.py --mutations`.

Each mutation replaces a piece of source that must be there and runs the checks of that kernel until one
misses its bound. All are compiled first, side by side.
"""

from concurrent.futures import ThreadPoolExecutor

import check
import check_linear
import driver
import nvrtc
import torch

# (kernel, what breaks, piece, replacement, check)
MUTATIONS = (
    (
        "embed",
        "mask rows keep their embedding",
        "const bool masked = scale == 0.0f;",
        "const bool masked = false;",
        check.check_embed,
    ),
    ("embed", "share of masks ignored", "/ (1.0 - share)", "/ 1.0", check.check_embed),
    (
        "layer_norm",
        "idle threads join the variance",
        "inside ? off * off : 0.0f",
        "off * off",
        check.check_layer_norm,
    ),
    (
        "rotary",
        "sine of the wrong sign",
        "-__fmul_rn(b, sine)",
        "__fmul_rn(b, sine)",
        check.check_rotary,
    ),
    ("gelu", "coefficient off by 0.1 %", "-4.624480807e-1f", "-4.629e-1f", check.check_gelu),
    ("gelu", "tail left out", "i < n; ++i) x[i]", "i < n - 1; ++i) x[i]", check.check_gelu),
    ("pool", "last token not skipped", "- begin - skip_last", "- begin", check.check_pool),
    (
        "pool",
        "a warp's rows left out",
        "w < POOL_WARPS; ++w) total",
        "w < POOL_WARPS - 1; ++w) total",
        check.check_pool,
    ),
    (
        "pool",
        "infinity not noticed",
        "& 0x7f800000u) == 0x7f800000u",
        "& 0x7fffffffu) > 0x7f800000u",
        check.check_pool,
    ),
    ("convert", "rounds towards zero", "cvt.rn.f16", "cvt.rz.f16", check.check_convert),
    (
        "attention",
        "one key too many at the end",
        "i % 2 >= valid)",
        "i % 2 > valid)",
        check.check_attention,
    ),
    ("attention", "last key lost", "i % 2 >= valid)", "i % 2 >= valid - 1)", check.check_attention),
    (
        "attention",
        "last block of keys left out",
        "first_key < length; first_key",
        "first_key + KEY_BLOCK <= length; first_key",
        check.check_attention,
    ),
    (
        "attention",
        "stale stage",
        "(first_key / KEY_BLOCK + 1) % 2",
        "(first_key / KEY_BLOCK) % 2",
        check.check_attention,
    ),
    (
        "attention",
        "no zeros past the end",
        "share.real() && at + share.row < valid",
        "share.real()",
        check.check_attention,
    ),
    (
        "attention",
        "sum not scaled to the new maximum",
        "running.total[h] * shrink[h] + sum",
        "running.total[h] + sum",
        check.check_attention,
    ),
    (
        "attention",
        "distance to the wrong key",
        "first_key + n * 8 + column",
        "n * 8 + column",
        check.check_attention,
    ),
    (
        "attention_wgmma",
        "one key too many at the end",
        "i % 2 >= valid)",
        "i % 2 > valid)",
        check.check_attention,
    ),
    (
        "attention_wgmma",
        "stale stage",
        "(first_key / KEY_BLOCK + 1) % 2",
        "(first_key / KEY_BLOCK) % 2",
        check.check_attention,
    ),
    (
        "attention_wgmma",
        "no zeros past the end",
        "from, at + row < valid)",
        "from, true)",
        check.check_attention,
    ),
    (
        "attention_wgmma",
        "rows of another warp",
        "warp_index() * 16 + h * 8",
        "h * 8",
        check.check_attention,
    ),
    (
        "attention_resident_wgmma",
        "one key too many at the end",
        "i % 2 >= valid)",
        "i % 2 > valid)",
        check.check_attention_resident,
    ),
    (
        "attention_resident_wgmma",
        "last block of keys left out",
        "first_key < length; first_key",
        "first_key + KEY_BLOCK <= length; first_key",
        check.check_attention_resident,
    ),
    (
        "attention_resident_wgmma",
        "the first keys again",
        "+ first_key / KEY_BLOCK * units(2 * STAGE)",
        "",
        check.check_attention_resident,
    ),
    (
        "attention_resident_wgmma",
        "queries of the tile before",
        "start_queries(tile + TILE);",
        "start_queries(tile);",
        check.check_attention_resident,
    ),
    (
        "attention_resident_wgmma",
        "no zeros past the end",
        "from, at + row < valid)",
        "from, true)",
        check.check_attention_resident,
    ),
    (
        "linear_gated_wgmma",
        "a gate with its neighbour's value",
        "words[BLOCKS + i], low",
        "words[BLOCKS + (i ^ 1)], low",
        check_linear.check_gated,
    ),
    (
        "linear_gated_wgmma",
        "values from the weights of the gates",
        "* (features / 2)",
        "* TILE_FEATURES / 2",
        check_linear.check_gated,
    ),
    (
        "linear_gated_wgmma",
        "last rows without a tile",
        "(rows + CLUSTER * TILE_ROWS - 1) /",
        "max(CLUSTER * TILE_ROWS, rows) /",
        check_linear.check_gated,
    ),
    (
        "linear_residual_wgmma",
        "half of a residual lost",
        "pack(low + low_before,",
        "pack(low,",
        check_linear.check_residual,
    ),
    (
        "linear_residual_wgmma",
        "bias lost",
        "bias == nullptr ? 0 :",
        "true ? 0 :",
        check_linear.check_residual,
    ),
    (
        "linear_residual_wgmma",
        "moments of the wrong tile",
        "tile = feature / TILE_FEATURES;",
        "tile = 0;",
        check_linear.check_residual,
    ),
    (
        "linear_residual_wgmma",
        "moments of half the values",
        "sums[i % 2] += low + high;",
        "sums[i % 2] += 2.0f * low;",
        check_linear.check_residual,
    ),
    (
        "linear_residual_wgmma",
        "stale residual",
        "if (slot + 1 < SLOTS) step.prepare(slot + 1);",
        "if (slot + 1 < SLOTS) step.prepare(slot);",
        check_linear.check_residual,
    ),
    (
        "folded_norm",
        "squares between tiles lost",
        "tile.y + off * off *",
        "tile.y + 0.0f * off *",
        check_linear.check_residual,
    ),
    (
        "folded_norm",
        "mean left in the weights",
        "* gamma[c] - mean)",
        "* gamma[c])",
        check_linear.check_folded_norm,
    ),
    (
        "folded_norm",
        "shift of the norm lost",
        "bias[blockIdx.x] + shifted)",
        "bias[blockIdx.x])",
        check_linear.check_folded_norm,
    ),
    (
        "folded_norm",
        "variance of a sample",
        "squares / static_cast<float>(cols), eps",
        "squares / static_cast<float>(cols - 1), eps",
        check_linear.check_folded_norm,
    ),
    (
        "folded_norm",
        "means below zero are never far",
        "fabsf(mean) * scale > MOST",
        "mean * scale > MOST",
        check_linear.check_far_means,
    ),
    (
        "linear_gelu_wgmma",
        "factor of another row",
        "scale[r] = scales[at];",
        "scale[r] = scales[row + lane / 4];",
        check_linear.check_folded_norm,
    ),
)


def caught(case):
    """Whether a check of `case` misses its bound."""
    torch.manual_seed(1)
    return any(not measured <= bound for _, measured, bound in case("f16"))


def modules(case):
    """Whether a check misses a bound of kernels that are whole, and the modules that it loads."""
    asked, cubin = set(), driver.cubin

    def note(*build):
        asked.add(build)
        return cubin(*build)

    driver.function.cache_clear()
    driver.cubin = note
    try:
        return caught(case), asked
    finally:
        driver.cubin = cubin


def survivors():
    """Mutations that no check noticed, and other reasons why they prove nothing."""
    left, jobs, broken = [], [], {}
    known = {case: modules(case) for case in dict.fromkeys(case for *_, case in MUTATIONS)}
    for kernel, what, piece, replacement, case in MUTATIONS:
        original = nvrtc.source_of(kernel)
        misses, asked = known[case]
        builds = [build for build in asked if build[0] == kernel]
        if misses or not builds or piece not in original:
            why = f"the piece is not there, or {case.__name__} does not load it, or misses anyway"
            left.append(f"{kernel}, {what}: {why}")
            continue
        source = original.replace(piece, replacement)
        jobs += [((kernel, what), build, source) for build in builds]
    with ThreadPoolExecutor(12) as pool:
        for (mutation, build, _), cubin in zip(jobs, pool.map(compile_broken, jobs)):
            broken.setdefault(mutation, {})[build] = cubin
    whole = driver.cubin
    for kernel, what, *_, case in MUTATIONS:
        if (kernel, what) not in broken:
            continue
        mine = broken[kernel, what]
        driver.cubin = lambda *build, mine=mine: mine.get(build) or whole(*build)
        driver.function.cache_clear()
        noticed = caught(case)
        print(f"{'caught' if noticed else 'NOT CAUGHT'}: {kernel}, {what}", flush=True)
        if not noticed:
            left.append(f"{kernel}: {what}")
    driver.cubin = whole
    driver.function.cache_clear()
    return left


def compile_broken(job):
    _, (name, dtype, defines), source = job
    return nvrtc.compile_kernel(name, dtype, nvrtc.target(name, driver.arch()), defines, source=source)[0]
