"""Each kernel with the launch geometry that the host code uses: the one place that knows it here."""

import ctypes
from dataclasses import dataclass

import torch
from driver import Launch, arch, function, tensor_map

TORCH = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def vector(dtype):
    return 4 if dtype == "f32" else 8


def ceil_div(a, b):
    return -(-a // b)


def dropout_scale(dtype, ids, cu, mask_id, ratio, scale):
    n = len(cu) - 1
    entry = function("embed", "dropout_scale", dtype, ())
    return Launch(entry, (ceil_div(n, 8),), 256, (ids, cu, n, mask_id, ratio, scale))


def embed(dtype, ids, table, shift, scale, out):
    tokens, hidden = out.shape
    entry = function("embed", "embed", dtype, ())
    return Launch(
        entry, (ceil_div(tokens, 8),), 256, (ids, table, shift, scale, out, tokens, hidden)
    )


def multiprocessors():
    return torch.cuda.get_device_properties(0).multi_processor_count


def norm_geometry(dtype, rows, cols):
    whole = cols % vector(dtype) == 0 and cols // vector(dtype) <= 1024
    threads = 32 * ceil_div(cols // vector(dtype), 32) if whole else 256
    return (min(rows, multiprocessors() * (1024 // threads)),), threads


def layer_norm(dtype, x, gamma, beta, out, eps):
    rows, cols = x.shape
    entry = function("layer_norm", "layer_norm", dtype, ())
    arguments = (x, gamma, beta, out, rows, cols, eps)
    return Launch(entry, *norm_geometry(dtype, rows, cols), arguments)


def rotary_table(dtype, out, head_dim, base):
    entry = function("rotary", "rotary_table", dtype, ())
    return Launch(entry, (256,), 256, (out, out.shape[0], head_dim, base))


def rotary(dtype, qkv, positions, table, heads, head_dim, threads=None):
    half = head_dim // 2
    unit = half // vector(dtype) if half % vector(dtype) == 0 else 32
    threads = threads or unit * max(1, 128 // unit)
    entry = function("rotary", "rotary", dtype, ())
    return Launch(
        entry, (len(qkv),), threads, (qkv, positions, table, len(qkv), heads, head_dim)
    )


@dataclass(frozen=True)
class Shape:
    """Which attention kernel, and its tile: warps, 16-row tiles of a warp, keys of a block."""

    kernel: str
    warps: int = 4
    row_tiles: int = 1
    key_block: int = 64
    defines: tuple = ()

    @property
    def tile(self):
        return self.warps * self.row_tiles * 16

    def shared(self, head_dim):
        if self.kernel == "attention_f32":
            return 0
        if self.kernel == RESIDENT.kernel:
            return (self.tile + 2 * LONGEST_RESIDENT) * head_dim * 2
        if self.kernel == "attention_wgmma":
            return (self.tile + 4 * self.key_block) * head_dim * 2
        return (self.tile + 4 * self.key_block) * (ceil_div(head_dim, 16) * 16 + 8) * 2


# Keys and values of a whole sequence stay in shared memory; for heads of 64 and sequences of 65 to 176.
RESIDENT = Shape("attention_resident_wgmma")
SHORTEST_RESIDENT, LONGEST_RESIDENT = 65, 176


def is_resident(lengths):
    return min(lengths) >= SHORTEST_RESIDENT and max(lengths) <= LONGEST_RESIDENT


def mma(warps=4, row_tiles=1, key_block=64, blocks=4):
    """A shape of attention.cu other than its own choice."""
    names = {"WARPS": warps, "ROW_TILES": row_tiles, "KEY_BLOCK": key_block, "MIN_BLOCKS": blocks}
    defines = tuple(f"{name}={value}" for name, value in names.items())
    return Shape("attention", warps, row_tiles, key_block, defines)


def portable_shape(dtype, head_dim):
    if dtype == "f32":
        return Shape("attention_f32")
    return Shape("attention", key_block=32 if head_dim > 80 else 64)


def best_shape(dtype, head_dim, lengths):
    """What the program runs on the chip at hand, which takes apart what is partly resident."""
    if dtype != "f32" and head_dim in (64, 128) and arch() == "sm_90":
        streaming = Shape("attention_wgmma")
        return RESIDENT if head_dim == 64 and is_resident(lengths) else streaming
    return portable_shape(dtype, head_dim)


def attention_tiles(lengths, tile):
    """(sequence, first row) of every tile; longest sequences first, so that the last blocks are short."""
    order = sorted(range(len(lengths)), key=lambda s: -lengths[s])
    tiles = [(s, row) for s in order for row in range(0, lengths[s], tile)]
    return torch.tensor(tiles, dtype=torch.int32, device="cuda")


def attention_build(dtype, head_dim, shape):
    return shape.kernel, dtype, (f"HEAD_DIM={head_dim}", *shape.defines)


def attention(dtype, qkv, out, cu, lengths, heads, head_dim, scale, slopes=None, shape=None):
    shape = shape or best_shape(dtype, head_dim, lengths)
    tiles, entry = attention_tiles(lengths, shape.tile), "attention"
    arguments = qkv, out, cu, tiles
    if shape.kernel == RESIDENT.kernel:
        # Whole sequences: first token and length.
        whole, entry = tiles[tiles[:, 1] == 0, 0].long(), "attention_resident"
        tiles = torch.stack((cu[whole], cu[whole + 1] - cu[whole]), 1).int().contiguous()
        rows = qkv.view(len(qkv), -1)
        arguments = tensor_map(rows, 64), tensor_map(rows, 16), out, tiles
    name, _, defines = attention_build(dtype, head_dim, shape)
    kernel = function(name, entry, dtype, defines)
    arguments = (*arguments, heads, scale, slopes)
    grid = (len(tiles) * heads,)
    launch = Launch(kernel, grid, 32 * shape.warps, arguments, shape.shared(head_dim))
    # The maps hold addresses alone.
    launch.kept = qkv, out, cu, tiles
    return launch


def gelu(dtype, x):
    n = x.numel()
    entry = function("gelu", "gelu", dtype, ())
    grid = ceil_div(n, 256 * 4 * vector(dtype))
    return Launch(entry, (grid,), 256, (x, ctypes.c_longlong(n)))


def gated_gelu(dtype, x, out, threads=None):
    rows, width = out.shape
    entry = function("gelu", "gated_gelu", dtype, ())
    if threads is None:
        items = width // vector(dtype) if width % vector(dtype) == 0 else width
        threads = min(512, 32 * ceil_div(items, 32 * 2))
    return Launch(entry, (rows,), threads, (x, out, rows, width))


def linear_build(name, dtype, depth, defines=()):
    """`defines`: (name, value) of macros that are not to have their defaults."""
    chosen = dict(defines)
    # A tile is finished over no more steps than the next one has.
    parts = min(int(chosen.get("PARTS", 16)), depth // 64)
    chosen["PARTS"] = 1 << parts.bit_length() - 1
    # What is between two loops must be whole rounds of the ring.
    between = depth // 64, chosen["PARTS"], int(chosen.get("FETCH", 8))
    whole = all(steps % int(chosen.get("STAGES", 4)) == 0 for steps in between)
    chosen["WHOLE_ROUNDS"] = int(whole and int(chosen.get("WHOLE_ROUNDS", 1)))
    built = tuple(f"{macro}={value}" for macro, value in sorted(chosen.items()))
    return f"{name}_wgmma", dtype, built


def panels(x):
    """What a linear kernel stores or adds to, in the boxes of its warps."""
    return tensor_map(x, 16)


def linear(name, dtype, x, weights, bias, out, more, defines=(), clusters=None, scales=None):
    """`more`: arguments of this kernel alone, a residual first; `clusters`: how many work on it, all that fit
    if None; `scales`: a factor for each row, 1 if None.
    """
    (rows, depth), features = x.shape, len(weights)
    assert len(out) == rows and weights.shape[1] == depth and (bias is None or len(bias) == features)
    assert out.shape[1] == (features // 2 if name == "linear_gated" else features)
    assert depth % 64 == 0 and features % 256 == 0
    chosen = dict(defines)
    cluster, stages = int(chosen.get("CLUSTER", 2)), int(chosen.get("STAGES", 4))
    shared = stages * 49152 + 32768 + stages * 16 + 128
    file, _, built = linear_build(name, dtype, depth, defines)
    entry = function(file, name, dtype, built, shared)
    # Tiles of a product with a residual are turned, and its rows have no factors.
    turned = name == "linear_residual"
    assert not turned or features % (128 * cluster) == 0
    high, wide = (256, 128 * cluster) if turned else (128 * cluster, 256)
    tiles = ceil_div(rows, high) * (features // wide)
    clusters = min(tiles, clusters or multiprocessors() // cluster)
    boxes = (256 // cluster, 128) if turned else (128, 256 // cluster)
    maps = tensor_map(x, boxes[0]), tensor_map(weights, boxes[1]), panels(out)
    kept = x, weights, out, *more
    if turned:
        more = panels(more[0]), *more[1:]
    assert not (turned and scales is not None)
    factors = () if turned else (scales,)
    arguments = (*maps, bias, *factors, rows, features, depth, *more)
    launch = Launch(entry, (clusters * cluster,), 384, arguments, shared)
    # The maps hold addresses alone.
    launch.kept = kept
    return launch


def linear_gelu(dtype, x, weights, bias, out, defines=(), clusters=None, scales=None):
    """out = gelu(scales (x weights^T) + bias)."""
    return linear("linear_gelu", dtype, x, weights, bias, out, (), defines, clusters, scales)


def linear_gated(dtype, x, weights, out):
    """out = gelu(x g^T) * (x v^T), with g and v the halves of the weights."""
    return linear("linear_gated", dtype, x, weights, None, out, ())


def linear_residual(dtype, x, weights, bias, out, moments):
    """out += x weights^T + bias; `moments` of each 64 features of each row: means, and squares around."""
    assert moments.shape == (len(weights) // 64, len(x), 2) and moments.dtype == torch.float32
    return linear("linear_residual", dtype, x, weights, bias, out, (out, moments))


def fold(stored_type, dtype, stored, bias, gamma, beta, weights, out_bias):
    """A LayerNorm becomes a part of the linear layer behind it."""
    entry = function("folded_norm", f"fold_{stored_type}", dtype, ())
    arguments = (stored, bias, gamma, beta, weights, out_bias, stored.shape[1])
    return Launch(entry, (len(stored),), 256, arguments)


def scales_of_rows(dtype, x, scales, eps):
    rows, cols = x.shape
    entry = function("folded_norm", "scales_of_rows", dtype, ())
    return Launch(entry, (ceil_div(rows, 8),), 256, (x, scales, rows, cols, eps))


def scales_of_tiles(dtype, moments, scales, cols, eps):
    tiles, rows, _ = moments.shape
    entry = function("folded_norm", "scales_of_tiles", dtype, ())
    return Launch(entry, (ceil_div(rows, 32),), 256, (moments, scales, rows, tiles, cols, eps))


def linear_rotary(dtype, x, weights, bias, out, positions, table, rotated, defines=(), clusters=None):
    """out = x weights^T + bias, the first `rotated` features in heads of 64 rotated by their positions."""
    assert table.shape[1:] == (32, 2) and table.dtype == torch.float32 and rotated % 256 == 0
    assert len(positions) == len(x) and positions.dtype == torch.int32
    more = positions, table, rotated
    return linear("linear_rotary", dtype, x, weights, bias, out, more, defines, clusters)


def pool_grid(dtype, sequences, hidden):
    return sequences, ceil_div(hidden, 32 * vector(dtype))


def mean_pool(dtype, hidden, cu, first, last, most, out, flags):
    n, cols = len(cu) - 1, hidden.shape[1]
    entry = function("pool", "mean_pool", dtype, ())
    arguments = (hidden, cu, n, cols, first, last, most, out, flags)
    return Launch(entry, pool_grid(dtype, n, cols), 256, arguments)


def rows_out(kind, dtype, hidden, cu, out, flags):
    """`first_token` or `widen_rows`."""
    n, cols = len(cu) - 1, hidden.shape[1]
    entry = function("pool", kind, dtype, ())
    return Launch(entry, pool_grid(dtype, n, cols), 256, (hidden, cu, n, cols, out, flags))


def convert(kind, dtype, src, out):
    n = out.numel()
    entry = function("convert", f"convert_{kind}", dtype, ())
    grid = ceil_div(n, 256 * vector(dtype))
    return Launch(entry, (grid,), 256, (src, out, ctypes.c_longlong(n)))
