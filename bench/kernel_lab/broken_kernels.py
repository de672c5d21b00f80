"""Kernels broken on purpose, for mutations.py; needs neither torch nor a GPU.

    python3 bench/kernel_lab/broken_kernels.py

Fails if a piece that a mutation replaces is no longer in its kernel, or is there without changing anything.
"""

import sys

import nvrtc

# (kernel, what breaks, piece, replacement, name of the check)
MUTATIONS = (
    (
        "embed",
        "mask rows keep their embedding",
        "const bool masked = scale == 0.0f;",
        "const bool masked = false;",
        "check_embed",
    ),
    ("embed", "share of masks ignored", "/ (1.0 - share)", "/ 1.0", "check_embed"),
    (
        "layer_norm",
        "idle threads join the variance",
        "inside ? off * off : 0.0f",
        "off * off",
        "check_layer_norm",
    ),
    (
        "rotary",
        "sine of the wrong sign",
        "-__fmul_rn(b, sine)",
        "__fmul_rn(b, sine)",
        "check_rotary",
    ),
    ("gelu", "coefficient off by 0.1 %", "-4.624480807e-1f", "-4.629e-1f", "check_gelu"),
    ("gelu", "tail left out", "i < n; ++i) x[i]", "i < n - 1; ++i) x[i]", "check_gelu"),
    ("pool", "last token not skipped", "- begin - skip_last", "- begin", "check_pool"),
    (
        "pool",
        "a warp's rows left out",
        "w < POOL_WARPS; ++w) total",
        "w < POOL_WARPS - 1; ++w) total",
        "check_pool",
    ),
    (
        "pool",
        "infinity not noticed",
        "& 0x7f800000u) == 0x7f800000u",
        "& 0x7fffffffu) > 0x7f800000u",
        "check_pool",
    ),
    ("convert", "rounds towards zero", "cvt.rn.f16", "cvt.rz.f16", "check_convert"),
    (
        "attention",
        "one key too many at the end",
        "i % 2 >= valid)",
        "i % 2 > valid)",
        "check_attention",
    ),
    ("attention", "last key lost", "i % 2 >= valid)", "i % 2 >= valid - 1)", "check_attention"),
    (
        "attention",
        "last block of keys left out",
        "first_key < length; first_key",
        "first_key + KEY_BLOCK <= length; first_key",
        "check_attention",
    ),
    (
        "attention",
        "stale stage",
        "(first_key / KEY_BLOCK + 1) % 2",
        "(first_key / KEY_BLOCK) % 2",
        "check_attention",
    ),
    (
        "attention",
        "no zeros past the end",
        "share.real() && at + share.row < valid",
        "share.real()",
        "check_attention",
    ),
    (
        "attention",
        "sum not scaled to the new maximum",
        "running.total[h] * shrink[h] + sum",
        "running.total[h] + sum",
        "check_attention",
    ),
    (
        "attention",
        "distance to the wrong key",
        "first_key + n * 8 + column",
        "n * 8 + column",
        "check_attention",
    ),
    (
        "attention_wgmma",
        "one key too many at the end",
        "i % 2 >= valid)",
        "i % 2 > valid)",
        "check_attention",
    ),
    (
        "attention_wgmma",
        "stale stage",
        "(first_key / KEY_BLOCK + 1) % 2",
        "(first_key / KEY_BLOCK) % 2",
        "check_attention",
    ),
    (
        "attention_wgmma",
        "no zeros past the end",
        "from, at + row < valid)",
        "from, true)",
        "check_attention",
    ),
    (
        "attention_wgmma",
        "rows of another warp",
        "warp_index() * 16 + h * 8",
        "h * 8",
        "check_attention",
    ),
    (
        "attention_resident_wgmma",
        "one key too many at the end",
        "i % 2 >= length)",
        "i % 2 > length)",
        "check_attention_resident",
    ),
    (
        "attention_resident_wgmma",
        "last group of keys left out",
        "length <= 16 * (GROUPS - 1)",
        "length <= 16 * GROUPS",
        "check_attention_resident",
    ),
    (
        "attention_resident_wgmma",
        "the first values again",
        "units(MOST_GROUPS * GROUP + b * STAGE)",
        "units(MOST_GROUPS * GROUP)",
        "check_attention_resident",
    ),
    (
        "attention_resident_wgmma",
        "keys are not waited for",
        "wait_for(keys_there, 0);",
        "",
        "check_attention_resident",
    ),
    (
        "attention_resident_wgmma",
        "queries of the tile before",
        "start_queries(first + TILE);",
        "start_queries(first);",
        "check_attention_resident",
    ),
    (
        "attention_resident_wgmma",
        "no zeros past the end",
        "if (row < (length + 15) / 16 * 16)",
        "if (false)",
        "check_attention_resident",
    ),
    (
        "linear_gated_wgmma",
        "a gate with its neighbour's value",
        "words[BLOCKS + i], low",
        "words[BLOCKS + (i ^ 1)], low",
        "check_gated",
    ),
    (
        "linear_gated_wgmma",
        "values from the weights of the gates",
        "* (features / 2)",
        "* LONG / 2",
        "check_gated",
    ),
    (
        "linear_gated_wgmma",
        "last rows without a tile",
        "(rows + HEIGHT - 1) / HEIGHT",
        "max(HEIGHT, rows) / HEIGHT",
        "check_gated",
    ),
    (
        "linear_residual_wgmma",
        "half of a residual lost",
        "+ i], words_before[i])",
        "+ i], words_before[i] & 0xffff0000u)",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "bias lost",
        "if (bias == nullptr) return;",
        "return;",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "moments of the wrong tile",
        "feature / 64 * rows",
        "feature / 256 * rows",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "moments of half the values",
        "sum += low + high;",
        "sum += 2.0f * low;",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "stale residual",
        "if (slot + 1 < SLOTS) step.prepare(slot + 1, desk);",
        "if (slot + 1 < SLOTS) step.prepare(slot, desk);",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "the residual's first panel again",
        "before, feature, first_row(row, turn, desk)",
        "before, feature, row",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "a panel leaves before the other warps have written it",
        "barrier.sync.aligned %0, %1;",
        "barrier.arrive.aligned %0, %1;",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "the other warpgroup's features",
        "tile.y + half * 64",
        "tile.y + (1 - half) * 64",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "rows of the other block's share",
        "tile.x + share",
        "tile.x",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "the last tile of a block left out",
        "for (int part = 0; part < PARTS; ++part) finish(",
        "for (int part = 0; part < 0; ++part) finish(",
        "check_residual",
    ),
    (
        "linear_residual_wgmma",
        "a block's second tile in the place of its first",
        "index += step;",
        "index += step, rank = 0;",
        "check_residual",
    ),
    (
        "folded_norm",
        "squares between tiles lost",
        "tile.y + off * off *",
        "tile.y + 0.0f * off *",
        "check_residual",
    ),
    (
        "folded_norm",
        "mean left in the weights",
        "* gamma[c] - mean)",
        "* gamma[c])",
        "check_folded_norm",
    ),
    (
        "folded_norm",
        "shift of the norm lost",
        "bias[blockIdx.x] + shifted)",
        "bias[blockIdx.x])",
        "check_folded_norm",
    ),
    (
        "folded_norm",
        "variance of a sample",
        "squares / static_cast<float>(cols), eps",
        "squares / static_cast<float>(cols - 1), eps",
        "check_folded_norm",
    ),
    (
        "folded_norm",
        "means below zero are never far",
        "fabsf(mean) * scale > MOST",
        "mean * scale > MOST",
        "check_far_means",
    ),
    (
        "linear_gelu_wgmma",
        "factor of another row",
        "scale[r] = scales[at];",
        "scale[r] = scales[row + lane / 4];",
        "check_folded_norm",
    ),
)


def stale():
    """Mutations that would change nothing."""
    for kernel, what, piece, replacement, _ in MUTATIONS:
        source = nvrtc.source_of(kernel)
        if source.replace(piece, replacement) == source:
            yield f"{kernel}, {what}: not there: {piece}"


if __name__ == "__main__":
    found = list(stale())
    print("\n".join(found) or f"{len(MUTATIONS)} pieces to break are all there")
    sys.exit(bool(found))
