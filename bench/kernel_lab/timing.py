"""Times every kernel on the shapes of ESM-2 3B (16,384 tokens, 40 heads of 64) and DNABERT-S, beside
torch's own; needs a GPU. Run through lab.py.
"""

import math

import kernels as k
import torch
from check import positions_of, ragged, random
from kernels import TORCH

TOKENS, HIDDEN, HEADS, HEAD_DIM = 16384, 2560, 40, 64


def milliseconds(run, repeats=20, rounds=5):
    """Median over rounds of the mean of a queue of launches, so that launching is hidden."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / repeats)
    return sorted(times)[rounds // 2]


def side_by_side(runs, repeats=10, rounds=11):
    """Median milliseconds of each; taken in turn, so that all see the same clocks."""
    times = [[milliseconds(run, repeats, 1) for run in runs] for _ in range(rounds)]
    return [sorted(column)[rounds // 2] for column in zip(*times)]


def in_turn(launches):
    """One callable that takes the launches in turn, so that no input stays in the L2 cache."""
    state = [0]

    def run():
        state[0] = (state[0] + 1) % len(launches)
        launches[state[0]]()

    return run


def lengths_of(workload, tokens=TOKENS, seed=11):
    if workload.startswith("fixed:"):
        n = int(workload[6:])
        return [n] * (tokens // n)
    generator = torch.Generator().manual_seed(seed)
    lengths, total = [], 0
    while True:
        n = int(math.exp(math.log(290) + 0.75 * float(torch.randn(1, generator=generator))))
        n = min(max(n, 30), 1022) + 2
        if total + n > tokens:
            return lengths
        lengths.append(n)
        total += n


def copy_bandwidth():
    """GB/s of a large device-to-device copy, bytes read plus bytes written."""
    a = torch.randn(1 << 29, device="cuda")
    b = torch.empty_like(a)
    return 2 * a.numel() * 4 / milliseconds(lambda: b.copy_(a), 3) / 1e6


def simple(dtype="f16"):
    """(name, milliseconds, bytes moved, torch's milliseconds or None)."""
    size = torch.finfo(TORCH[dtype]).bits // 8
    gamma, beta = random(HIDDEN), random(HIDDEN)
    gamma_half, beta_half = gamma.to(TORCH[dtype]), beta.to(TORCH[dtype])
    xs = [random(TOKENS, HIDDEN, dtype=dtype) for _ in range(3)]
    outs = [torch.empty_like(x) for x in xs]
    one = TOKENS * HIDDEN * size
    norm = torch.nn.functional.layer_norm
    theirs = milliseconds(in_turn([lambda x=x: norm(x, (HIDDEN,), gamma_half, beta_half) for x in xs]))
    runs = [k.layer_norm(dtype, x, gamma, beta, o, 1e-5) for x, o in zip(xs, outs)]
    yield "layer_norm", milliseconds(in_turn(runs)), 2 * one, theirs
    copies = [lambda x=x, o=o: o.copy_(x) for x, o in zip(xs, outs)]
    yield "copy of the same size", milliseconds(in_turn(copies)), 2 * one, None

    ids = torch.randint(0, 33, (TOKENS,), dtype=torch.int32, device="cuda")
    table, cu = random(33, HIDDEN, dtype=dtype), ragged([168] * 97 + [88])[0]
    scale = torch.empty(TOKENS, device="cuda")
    runs = [k.embed(dtype, ids, table, None, scale, o) for o in outs]
    k.dropout_scale(dtype, ids, cu, 32, 0.12, scale)()
    yield "embed", milliseconds(in_turn(runs)), one, None
    run = k.dropout_scale(dtype, ids, cu, 32, 0.12, scale)
    yield "dropout_scale", milliseconds(run), TOKENS * 12, None

    pooled, flags = torch.empty(98, HIDDEN, device="cuda"), torch.zeros(98, dtype=torch.int32, device="cuda")
    runs = [k.mean_pool(dtype, x, cu, 1, 1, 1022, pooled, flags) for x in xs]
    yield "mean_pool", milliseconds(in_turn(runs)), one, None
    wide = torch.empty(TOKENS, HIDDEN, device="cuda")
    runs = [k.rows_out("widen_rows", dtype, x, cu, wide, flags) for x in xs]
    yield "widen_rows", milliseconds(in_turn(runs)), one + 4 * TOKENS * HIDDEN, None
    del xs, outs

    qkvs = [random(TOKENS, 3 * HIDDEN, dtype=dtype) for _ in range(2)]
    cos_sin = torch.empty(1024, HEAD_DIM // 2, 2, device="cuda")
    k.rotary_table(dtype, cos_sin, HEAD_DIM, 10000.0)()
    positions = positions_of([168] * 97 + [88])
    runs = [k.rotary(dtype, q, positions, cos_sin, HEADS, HEAD_DIM) for q in qkvs]
    yield "rotary", milliseconds(in_turn(runs)), 4 * one, None
    del qkvs

    x = random(TOKENS, 4 * HIDDEN, dtype=dtype)
    theirs = milliseconds(lambda: torch.nn.functional.gelu(x))
    # Its own output as input soon is near zero everywhere; the time does not depend on the values.
    yield "gelu", milliseconds(k.gelu(dtype, x)), 8 * one, theirs
    x, out = random(TOKENS, 6144, dtype=dtype), torch.empty(TOKENS, 3072, device="cuda", dtype=TORCH[dtype])
    yield "gated_gelu", milliseconds(k.gated_gelu(dtype, x, out)), TOKENS * 9216 * size, None
    src, out = random(1 << 28), torch.empty(1 << 28, device="cuda", dtype=TORCH[dtype])
    yield "convert_f32", milliseconds(k.convert("f32", dtype, src, out)), src.numel() * (4 + size), None


def attention_work(lengths, heads=HEADS, head_dim=HEAD_DIM):
    """(floating-point operations, bytes) of one call in 2-byte elements."""
    squares, tokens = sum(n * n for n in lengths), sum(lengths)
    return 4 * squares * heads * head_dim, 4 * tokens * heads * head_dim * 2


def torch_attention(qkvs, lengths):
    """(name, callable) of what torch offers for the same work."""
    from torch.nn.attention.varlen import varlen_attn

    cu, tokens = ragged(lengths)
    longest = max(lengths)
    parts = [q[:tokens].view(tokens, 3, HEADS, HEAD_DIM).unbind(1) for q in qkvs]
    flash = torch.ops.aten._flash_attention_forward
    ends = (cu, cu, longest, longest)
    yield "torch varlen_attn", in_turn([lambda p=p: varlen_attn(*p, *ends) for p in parts])
    yield (
        "torch _flash_attention_forward",
        in_turn([lambda p=p: flash(*p, *ends, 0.0, False, False, scale=0.125) for p in parts]),
    )
    if len(set(lengths)) == 1:
        padded = [
            [x.view(len(lengths), longest, HEADS, HEAD_DIM).transpose(1, 2) for x in p] for p in parts
        ]
        sdpa = torch.nn.functional.scaled_dot_product_attention
        yield "torch SDPA, equal lengths", in_turn([lambda p=p: sdpa(*p) for p in padded])


def attention(shapes, dtype="f16", workloads=("fixed:168", "fixed:52", "proteome")):
    """(workload, name, milliseconds, operations, bytes)."""
    qkvs = [random(TOKENS, 3 * HIDDEN, dtype=dtype) for _ in range(2)]
    outs = [torch.empty(TOKENS, HIDDEN, device="cuda", dtype=TORCH[dtype]) for _ in range(2)]
    for workload in workloads:
        lengths = lengths_of(workload)
        cu = ragged(lengths)[0]
        named = []
        for shape in shapes:
            if shape == k.RESIDENT and not k.is_resident(lengths):
                continue
            launches = [
                k.attention(dtype, q, o, cu, lengths, HEADS, HEAD_DIM, 0.125, shape=shape)
                for q, o in zip(qkvs, outs)
            ]
            blocks = launches[0].blocks_per_multiprocessor()
            label = " ".join((shape.kernel, *shape.defines, f"x{blocks}"))
            named.append((label, in_turn(launches)))
        with torch.no_grad():
            named += torch_attention(qkvs, lengths)
            times = side_by_side([run for _, run in named])
        for (name, _), ms in zip(named, times):
            yield workload, name, ms, *attention_work(lengths)


def other_heads(dtype="f16"):
    """Other head widths on the proteome lengths, hidden size 2560: (head_dim, ms, torch's ms)."""
    lengths = lengths_of("proteome")
    cu, tokens = ragged(lengths)
    qkv = random(tokens, 3 * HIDDEN, dtype=dtype)
    out = torch.empty(tokens, HIDDEN, device="cuda", dtype=TORCH[dtype])
    for head_dim in (16, 32, 64, 80, 128):
        heads = HIDDEN // head_dim
        run = k.attention(dtype, qkv, out, cu, lengths, heads, head_dim, head_dim**-0.5)
        theirs = math.nan
        if dtype != "f32":
            parts = qkv.view(tokens, 3, heads, head_dim).unbind(1)
            ends = (cu, cu, max(lengths), max(lengths), 0.0, False, False)
            flash = torch.ops.aten._flash_attention_forward
            theirs = milliseconds(lambda: flash(*parts, *ends, scale=head_dim**-0.5))
        yield head_dim, milliseconds(run), theirs
