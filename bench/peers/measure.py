"""Runs a peer over padded batches, from token ids in host memory to embeddings in host memory.

What is timed is one queue of transfers and forward passes with a single wait at its end, which is
the best an eager program gets out of one stream. Sorting, padding and pinning happen before the
clock starts. Only real tokens are counted, special tokens among them.
"""

import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
import workloads

# Padding waste falls with the number of sequences to sort. Peers sort this many times the tokens
# they are timed on and take batches evenly from all lengths, so that they pad like a large job.
POOL = 8
# Rows of a mask must be aligned for PyTorch's attention kernels; more would be waste.
PAD_MULTIPLE = 8


@dataclass
class Batch:
    """`ids` and `lengths` in pinned host memory, and room for `[sequences, hidden]` results."""

    ids: torch.Tensor
    lengths: torch.Tensor
    padded: bool
    embeddings: torch.Tensor


def padded_length(longest, shortest):
    return longest if longest == shortest else -(-longest // PAD_MULTIPLE) * PAD_MULTIPLE


def group(sequences, token_budget):
    """Descending length; a group closes before its padded size would exceed the budget."""
    groups = []
    for sequence in sorted(sequences, key=len, reverse=True):
        if groups:
            rows, seqlen = len(groups[-1]) + 1, padded_length(len(groups[-1][0]), len(sequence))
        if not groups or rows * seqlen > token_budget:
            groups.append([])
        groups[-1].append(sequence)
    return groups


def spread(groups, tokens):
    """About `tokens` tokens in groups taken evenly from all."""
    every = max(1, round(sum(len(s) for g in groups for s in g) / tokens))
    return groups[min(every // 2, len(groups) - 1) :: every]


def batch_of(sequences, pad, hidden_size, device):
    def pinned(tensor):
        return tensor.pin_memory() if device == "cuda" else tensor

    seqlens = [len(s) for s in sequences]
    ids = np.full((len(sequences), padded_length(max(seqlens), min(seqlens))), pad, dtype=np.int64)
    for row, sequence in zip(ids, sequences):
        row[: len(sequence)] = sequence
    return Batch(
        ids=pinned(torch.from_numpy(ids)),
        lengths=pinned(torch.tensor(seqlens)),
        padded=min(seqlens) < ids.shape[1],
        embeddings=pinned(torch.full((len(sequences), hidden_size), torch.nan)),
    )


def wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def embed(forward, batches, device, wait_for_each=False):
    """Seconds for all batches. `forward` takes ids, lengths, and whether there is padding."""
    start = time.perf_counter()
    for batch in batches:
        ids = batch.ids.to(device, non_blocking=True)
        lengths = batch.lengths.to(device, non_blocking=True)
        batch.embeddings.copy_(forward(ids, lengths, batch.padded), non_blocking=True)
        if wait_for_each:
            wait(device)
    wait(device)
    return time.perf_counter() - start


def result(batches, seconds):
    lengths = torch.cat([batch.lengths for batch in batches])
    if not all(batch.embeddings.isfinite().all() for batch in batches):
        raise ArithmeticError("an embedding is missing or not finite")
    tokens, median = int(lengths.sum()), statistics.median(seconds)
    return {
        "tokens": tokens,
        "sequences": len(lengths),
        "padding_waste": 1 - tokens / sum(batch.ids.numel() for batch in batches),
        "seconds": seconds,
        "tokens_per_second": tokens / median,
        "sequences_per_second": len(lengths) / median,
    }


def repeat(run, seconds, options, deadline):
    """Adds runs to `seconds` until there are enough of them or the next would pass the deadline."""
    while len(seconds) < options.repeats and time.perf_counter() + seconds[-1] < deadline:
        seconds.append(run())


def best_budget(forward, lengths, vocabulary, hidden_size, options):
    """Times every token budget once and the fastest again; the result of the fastest."""
    deadline = time.perf_counter() + options.time_limit
    sequences = workloads.sequences(lengths, POOL * options.tokens, vocabulary)
    tried = []
    for token_budget in options.token_budgets:
        if tried and time.perf_counter() > deadline:
            break
        batches = [
            batch_of(rows, vocabulary.pad, hidden_size, options.device)
            for rows in spread(group(sequences, token_budget), options.tokens)
        ]
        embed(forward, [batches[0], batches[-1]], options.device)
        seconds = [embed(forward, batches, options.device)]
        rate = result(batches, seconds)["tokens_per_second"]
        tried.append((rate, token_budget, batches, seconds))
    _, token_budget, batches, seconds = max(tried, key=lambda entry: entry[0])
    repeat(lambda: embed(forward, batches, options.device), seconds, options, deadline)
    return {
        "token_budget": token_budget,
        "tried": {budget: rate for rate, budget, *_ in tried},
        "not_tried": options.token_budgets[len(tried) :],
        **result(batches, seconds),
    }


def one_by_one(forward, lengths, vocabulary, hidden_size, options, most=400):
    """One sequence a call, each result awaited before the next call."""
    deadline = time.perf_counter() + options.time_limit
    sequences = workloads.sequences(lengths, options.tokens, vocabulary)[:most]
    batches = [batch_of([s], vocabulary.pad, hidden_size, options.device) for s in sequences]

    def run():
        return embed(forward, batches, options.device, wait_for_each=True)

    embed(forward, batches[:10], options.device)
    seconds = [run()]
    repeat(run, seconds, options, deadline)
    return result(batches, seconds)


def add_arguments(parser):
    """The options that all peers share."""
    parser.add_argument("--lengths", nargs="+", default=["fixed:168", "proteome"])
    parser.add_argument("--tokens", type=int, default=200_000, help="tokens of one timed pass")
    parser.add_argument("--token-budgets", type=int, nargs="+", default=[8192, 16_384, 32_768])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--time-limit",
        type=float,
        default=60.0,
        help="seconds of a measurement, compiling included, after which no pass starts",
    )
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
