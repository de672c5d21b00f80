"""Every kernel against float64 on fresh random ragged inputs; needs a GPU. Run through lab.py.

A check returns lines of (name, measured, bound); an output that was not written shows, because all of
them start as NaN.
"""

import itertools
import math

import kernels as k
import torch
from kernels import TORCH

HEAD_DIMS = (16, 24, 32, 64, 80, 128)
# Rounding of one stored value, relative.
STEP = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-23}
NAN = float("nan")


def random(*shape, dtype="f32", scale=1.0):
    return (torch.randn(*shape, device="cuda") * scale).to(TORCH[dtype])


def poisoned(*shape, dtype="f32"):
    return torch.full(shape, NAN, device="cuda", dtype=TORCH[dtype])


def error(out, ref):
    return float((out.double() - ref).norm() / ref.norm())


def ragged(lengths):
    cu = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device="cuda")
    return cu, int(cu[-1])


def random_lengths(count, longest, seed):
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, generator=generator).pow(3) * longest
    return [1, 15, 16, 17, 63, 64, 65, 128, longest] + [1 + int(x) for x in draw]


def positions_of(lengths):
    return torch.cat([torch.arange(n, dtype=torch.int32) for n in lengths]).cuda()


def same(a, b):
    view = torch.int32 if a.dtype == torch.float32 else torch.int16
    return bool((a.contiguous().view(view) == b.contiguous().view(view)).all())


def check_embed(dtype):
    lengths = random_lengths(20, 2000, 1)
    cu, tokens = ragged(lengths)
    ids = torch.randint(0, 33, (tokens,), dtype=torch.int32, device="cuda")
    ids[: lengths[0] + lengths[1]] = 32  # two sequences of masks alone
    for hidden, use_scale, use_shift in ((2560, 1, 0), (321, 1, 1), (768, 0, 1), (12, 0, 0)):
        table, shift = random(33, hidden, dtype=dtype), random(hidden)
        table[32] = NAN  # a masked row is zero whatever the table says
        if not use_scale:
            ids = ids.clamp(max=31)
        scale = poisoned(tokens)
        k.dropout_scale(dtype, ids, cu, 32, 0.12, scale)()
        out = poisoned(tokens, hidden, dtype=dtype)
        k.embed(dtype, ids, table, shift if use_shift else None, scale if use_scale else None, out)()
        ref = table.double()[ids.long()]
        if use_scale:
            masked = ids == 32
            sequence = torch.repeat_interleave(
                torch.arange(len(lengths), device="cuda"), torch.tensor(lengths, device="cuda")
            )
            count = torch.zeros(len(lengths), device="cuda", dtype=torch.float64)
            count.index_add_(0, sequence, masked.double())
            share = count / torch.tensor(lengths, device="cuda")
            factor = ((1 - 0.12) / (1 - share))[sequence]
            ref = torch.where(masked[:, None], 0.0, ref * factor[:, None])
        if use_shift:
            ref = ref + shift.double()
        yield f"embed {hidden}", error(out, ref), STEP[dtype]


def check_layer_norm(dtype):
    # In f32 the mean of 20 is known to a few parts in 1e7 of the deviation of 3.
    bound = max(1.5 * STEP[dtype], 1e-6)
    for rows, cols in ((3, 8), (77, 17), (130, 320), (65, 768), (33, 1280), (513, 2560), (9, 2563), (9, 5120)):
        x = random(rows, cols, dtype=dtype, scale=3.0)
        x += 20.0
        gamma, beta = random(cols), random(cols)
        norm = torch.nn.functional.layer_norm
        ref = norm(x.double(), (cols,), gamma.double(), beta.double(), 1e-5)
        out = poisoned(rows, cols, dtype=dtype)
        k.layer_norm(dtype, x, gamma, beta, out, 1e-5)()
        yield f"layer_norm {cols}", error(out, ref), bound
        part = poisoned(1, cols, dtype=dtype)
        k.layer_norm(dtype, x[rows // 2 : rows // 2 + 1], gamma, beta, part, 1e-5)()
        yield f"layer_norm {cols} alone differs", 1 - same(part[0], out[rows // 2]), 0
        place = x.clone()
        k.layer_norm(dtype, place, gamma, beta, place, 1e-5)()
        yield f"layer_norm {cols} in place differs", 1 - same(place, out), 0


def angles_of(positions, head_dim, base=10000.0):
    """Powers, frequencies and angles are rounded to f32, as those of the reference are."""
    power = (base ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)).float()
    return (positions.float()[:, None] * (1 / power).cuda()).double()


def rotated(x, angle):
    """x [tokens, heads, head_dim] in f64."""
    low, high = x.chunk(2, -1)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)


def check_rotary(dtype):
    table = poisoned(100_000, 32, 2)
    k.rotary_table(dtype, table, 64, 10000.0)()
    angle = angles_of(torch.arange(100_000, device="cuda"), 64)
    ref = torch.stack((angle.cos(), angle.sin()), -1)
    yield "rotary_table largest error", float((table.double() - ref).abs().max()), 2.0**-24
    lengths = random_lengths(5, 700, 2)
    positions, tokens = positions_of(lengths), sum(lengths)
    for head_dim in HEAD_DIMS:
        heads = 3
        table = poisoned(700, head_dim // 2, 2)
        k.rotary_table(dtype, table, head_dim, 10000.0)()
        qkv = random(tokens, 3, heads, head_dim, dtype=dtype)
        before = qkv.clone()
        k.rotary(dtype, qkv, positions, table, heads, head_dim)()
        angle = angles_of(positions, head_dim)
        ref = rotated(before[:, :2].reshape(tokens, 2 * heads, head_dim).double(), angle)
        yield f"rotary {head_dim}", error(qkv[:, :2].reshape_as(ref), ref), STEP[dtype]
        yield f"rotary {head_dim} changed v", 1 - same(qkv[:, 2], before[:, 2]), 0


def attention_ref(qkv, lengths, scale, slopes=None):
    """qkv [tokens, 3, heads, head_dim]; result [tokens, heads, head_dim] in f64."""
    out, start = [], 0
    for n in lengths:
        q, key, v = (qkv[start : start + n, i].double() for i in range(3))
        score = torch.einsum("qhd,khd->hqk", q, key) * scale
        if slopes is not None:
            at = torch.arange(n, device="cuda")
            score -= slopes.double()[:, None, None] * (at[:, None] - at[None]).abs()
        out.append(torch.einsum("hqk,khd->qhd", score.softmax(-1), v))
        start += n
    return torch.cat(out)


def attention_cases(dtype, more):
    """(head_dim, shape, every test): the kernel for any chip, the one for this chip, and `more`."""
    for head_dim in HEAD_DIMS:
        both = k.portable_shape(dtype, head_dim), k.best_shape(dtype, head_dim, [2000])
        for shape in dict.fromkeys(both):
            yield head_dim, shape, True
    for shape in more:
        yield 64, shape, False


def check_attention(dtype, shapes=()):
    lengths = random_lengths(25, 2000, 3)
    cu, tokens = ragged(lengths)
    # Weights are stored as elements, so their rounding adds to that of the result.
    bound = {"f16": 6e-4, "bf16": 5e-3, "f32": 2e-6}[dtype]
    for head_dim, shape, thorough in attention_cases(dtype, shapes):
        heads, scale = 3, head_dim**-0.5
        name = " ".join((shape.kernel, str(head_dim), *shape.defines))
        qkv = random(tokens, 3, heads, head_dim, dtype=dtype, scale=1.5)
        out = poisoned(tokens, heads, head_dim, dtype=dtype)

        def attend(qkv, out, cu, lengths, slopes=None, heads=heads, head_dim=head_dim, shape=shape):
            k.attention(
                dtype, qkv, out, cu, lengths, heads, head_dim, head_dim**-0.5, slopes, shape
            )()

        attend(qkv, out, cu, lengths)
        yield name, error(out, attention_ref(qkv, lengths, scale)), bound
        if not thorough:
            continue
        first = out.clone()
        out.fill_(NAN)
        attend(qkv, out, cu, lengths)
        yield f"{name} second run differs", 1 - same(first, out), 0

        # Every third sequence is NaN: the others must not notice, and it must show in its own.
        spoiled, mine = qkv.clone(), torch.ones(tokens, dtype=torch.bool, device="cuda")
        for s in range(0, len(lengths), 3):
            mine[int(cu[s]) : int(cu[s + 1])] = False
        spoiled[~mine] = NAN
        out.fill_(0.0)
        attend(spoiled, out, cu, lengths)
        yield f"{name} beside NaN differs", 1 - same(first[mine], out[mine]), 0
        yield f"{name} NaN lost", int((~out[~mine].isnan()).sum()), 0

        for s in (0, 4, len(lengths) // 2, 8):
            part = slice(int(cu[s]), int(cu[s + 1]))
            alone = poisoned(lengths[s], heads, head_dim, dtype=dtype)
            attend(qkv[part].clone(), alone, ragged([lengths[s]])[0], [lengths[s]])
            yield f"{name} alone ({lengths[s]}) differs", 1 - same(alone, first[part]), 0

        slopes = torch.tensor([0.5, 0.05, 0.003], device="cuda")
        out.fill_(NAN)
        attend(qkv, out, cu, lengths, slopes)
        yield f"{name} alibi", error(out, attention_ref(qkv, lengths, scale, slopes)), bound

        # Large scores, nearly one key to a query: the running maximum has to carry them.
        qkv[:, :2] *= 3.0
        out.fill_(NAN)
        attend(qkv, out, cu, lengths)
        yield f"{name} sharp", error(out, attention_ref(qkv, lengths, scale)), 5 * bound


def check_attention_resident(dtype):
    shortest, longest = k.SHORTEST_RESIDENT, k.LONGEST_RESIDENT
    if k.best_shape(dtype, 64, [longest]) != k.RESIDENT:
        return
    heads, bound = 3, {"f16": 6e-4, "bf16": 5e-3}[dtype]
    # Both ends of every number of groups of 16 keys.
    edges = [n for last in range(80, longest + 1, 16) for n in (max(last - 15, shortest), last - 1, last)]
    lengths = edges + [min(shortest - 1 + n, longest) for n in random_lengths(20, longest, 11)]
    cu, tokens = ragged(lengths)
    qkv = random(tokens, 3, heads, 64, dtype=dtype, scale=1.5)
    slopes = torch.tensor([0.5, 0.05, 0.003], device="cuda")
    sharp = qkv.clone()
    sharp[:, :2] *= 3.0
    for name, inputs, each in (("alibi", qkv, slopes), ("sharp", sharp, None), ("plain", qkv, None)):
        out = poisoned(tokens, heads, 64, dtype=dtype)
        k.attention(dtype, inputs, out, cu, lengths, heads, 64, 0.125, each, k.RESIDENT)()
        ref = attention_ref(inputs, lengths, 0.125, each)
        yield f"attention_resident {name}", error(out, ref), 5 * bound if name == "sharp" else bound
        again = poisoned(tokens, heads, 64, dtype=dtype)
        for _ in range(20):
            k.attention(dtype, inputs, again, cu, lengths, heads, 64, 0.125, each, k.RESIDENT)()
            yield f"attention_resident {name} repeated", 1 - same(out, again), 0
    first = out.clone()
    spoiled, mine = qkv.clone(), torch.ones(tokens, dtype=torch.bool, device="cuda")
    for s in range(0, len(lengths), 3):
        mine[int(cu[s]) : int(cu[s + 1])] = False
    spoiled[~mine] = NAN
    out.fill_(0.0)
    k.attention(dtype, spoiled, out, cu, lengths, heads, 64, 0.125, None, k.RESIDENT)()
    yield "attention_resident beside NaN differs", 1 - same(first[mine], out[mine]), 0
    yield "attention_resident NaN lost", int((~out[~mine].isnan()).sum()), 0


def gelu_ref(x):
    x = x.double()
    return 0.5 * x * torch.special.erfc(-x / math.sqrt(2.0))


def steps_apart(a, b):
    """Distance in representable values, 16-bit types."""
    def order(v):
        bits = v.view(torch.int16).int() & 0xFFFF
        return torch.where(bits < 0x8000, bits, 0x8000 - bits)

    return (order(a) - order(b)).abs()


def check_gelu(dtype):
    if dtype != "f32":
        every = torch.arange(65536, device="cuda").to(torch.int16).view(TORCH[dtype])
        every = every[every.isfinite()].contiguous()
        out = every.clone()
        k.gelu(dtype, out)()
        exact = gelu_ref(every).to(TORCH[dtype])
        steps = steps_apart(out, exact)
        if dtype == "bf16":
            # ex2 flushes what is below the smallest normal f32.
            steps = torch.where(exact.double().abs() < 2.0**-120, 0, steps)
        yield "gelu, every value: most steps off", int(steps.max()), 1
        yield "gelu, every value: share off", float((steps > 0).double().mean()), 0.05
    odd = torch.tensor([NAN, math.inf, -math.inf], device="cuda").to(TORCH[dtype])
    k.gelu(dtype, odd)()
    yield "gelu lost a NaN or infinity", int(odd.isfinite().sum()), 0
    for n in (1, 7, 8, 1000, 8192 * 5 + 3, 1 << 20):
        x = random(n, dtype=dtype, scale=2.0)
        guard = torch.cat((x, poisoned(64, dtype=dtype)))
        k.gelu(dtype, guard[:n])()
        yield f"gelu {n}", error(guard[:n], gelu_ref(x)), 1.2 * STEP[dtype]
        yield f"gelu {n} wrote past its end", int((~guard[n:].isnan()).sum()), 0
    for rows, width in ((33, 3072), (17, 8), (9, 123), (5, 2050)):
        x = random(rows, 2 * width, dtype=dtype, scale=1.5)
        out = poisoned(rows, width, dtype=dtype)
        k.gated_gelu(dtype, x, out)()
        ref = gelu_ref(x[:, :width]) * x[:, width:].double()
        yield f"gated_gelu {width}", error(out, ref), 1.2 * STEP[dtype]


def check_pool(dtype):
    lengths = random_lengths(30, 2000, 5) + [2, 3]
    cu, tokens = ragged(lengths)
    for hidden in (2560, 768, 320, 24, 321):
        x = random(tokens, hidden, dtype=dtype)
        for first, last, most in ((1, 1, 1022), (0, 0, 2**31 - 1), (1, 1, 5), (3, 2**31 - 1, 9)):
            ref = torch.zeros(len(lengths), hidden, device="cuda", dtype=torch.float64)
            for s, n in enumerate(lengths):
                end = max(0, n - last)
                begin = min(first, end)
                end = min(end, begin + most)
                if end > begin:
                    ref[s] = x[int(cu[s]) + begin : int(cu[s]) + end].double().mean(0)
            out, flags = poisoned(len(lengths), hidden), torch.zeros(len(lengths), dtype=torch.int32, device="cuda")
            k.mean_pool(dtype, x, cu, first, last, most, out, flags)()
            wrong = float((out.double() - ref).norm() / max(float(ref.norm()), 1e-30))
            yield f"mean_pool {hidden} {first} {last} {most}", wrong, 5e-7
            yield f"mean_pool {hidden} flags", int(flags.sum()), 0
        k.mean_pool(dtype, x, cu, 1, 1, 1022, out, flags)()
        again = torch.empty_like(out)
        k.mean_pool(dtype, x, cu, 1, 1, 1022, again, flags)()
        yield f"mean_pool {hidden} second run differs", 1 - same(out, again), 0
        s = 8
        part, own = x[int(cu[s]) : int(cu[s + 1])].clone(), ragged([lengths[s]])[0]
        k.mean_pool(dtype, part, own, 1, 1, 1022, again[:1], flags[:1])()
        yield f"mean_pool {hidden} alone differs", 1 - same(out[s], again[0]), 0

        bad = x.clone()
        bad[int(cu[4]) + 1, hidden - 1] = NAN
        bad[int(cu[6]) + 2, 0] = math.inf
        bad[int(cu[7])] = NAN  # skipped by the mean, seen by the others
        expected = {"mean": [4, 6], "first_token": [7], "widen_rows": [4, 6, 7]}
        for kind, sequences in expected.items():
            flags.zero_()
            rows = tokens if kind == "widen_rows" else len(lengths)
            out = poisoned(rows, hidden)
            if kind == "mean":
                k.mean_pool(dtype, bad, cu, 1, 1, 1022, out, flags)()
            else:
                k.rows_out(kind, dtype, bad, cu, out, flags)()
                ref = bad if kind == "widen_rows" else bad[cu[:-1].long()]
                wrong = (out != ref.float()) & ~ref.isnan()
                yield f"{kind} {hidden}", int(wrong.sum()), 0
            found = flags.nonzero().flatten().tolist()
            yield f"{kind} {hidden} flags {found}", int(found != sequences), 0


def check_convert(dtype):
    for kind, n in itertools.product(("f32", "f16", "bf16"), (1, 8, 1003, 100_000)):
        src = random(n + 1, dtype=kind)
        src[0] = 1.0 + 2.0**-11 if kind == "f32" else 1.0
        for offset in (0, 1):  # the second one is not aligned to 16 bytes
            guard = poisoned(n + 64, dtype=dtype)
            k.convert(kind, dtype, src[offset : offset + n], guard[:n])()
            wrong = 1 - same(guard[:n], src[offset : offset + n].to(TORCH[dtype]))
            yield f"convert_{kind} {n} offset {offset}", wrong, 0
            yield f"convert_{kind} {n} wrote past its end", int((~guard[n:].isnan()).sum()), 0


CHECKS = (
    check_embed,
    check_layer_norm,
    check_rotary,
    check_attention,
    check_attention_resident,
    check_gelu,
    check_pool,
    check_convert,
)
