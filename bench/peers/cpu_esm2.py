"""PyTorch on this machine's CPU, for comparison with `cargo bench`.

Prints two things as tab-separated lines:

* `linear`: GFLOP/s of `torch.nn.functional.linear` in f32 on the shapes of
  `crates/backend/benches/operations.rs`, about 4,096 rows, bias included;
* `forward`: tokens/s of Hugging Face `EsmModel` in f32 on the sequences of
  `crates/models/benches/forward.rs` (30 to 168 tokens), sorted by length and padded to batches
  of at most TOKEN_BUDGET padded tokens, as the original tool does. Only real tokens are counted;
  `mean` pooling over residues is included.

    pip install torch transformers
    python bench/peers/cpu_esm2.py --model models/mini/esm2 --threads 1

Random token ids on both sides: neither implementation's speed depends on them.
"""

import argparse
import statistics
import time

import torch
from transformers import EsmModel

LAYERS = [
    ("mini qkv", 192, 576),
    ("mini attention output", 192, 192),
    ("mini fc1", 192, 768),
    ("mini fc2", 768, 192),
    ("650M qkv", 1280, 3840),
    ("650M attention output", 1280, 1280),
    ("650M fc1", 1280, 5120),
    ("650M fc2", 5120, 1280),
]
ROWS = 4130
PAD = 1


def lengths(total_tokens):
    """30 to 168 tokens, the same series as the Rust benchmark."""
    found, tokens, i = [], 0, 0
    while tokens < total_tokens:
        found.append(30 + (i * 53) % 139)
        tokens += found[-1]
        i += 1
    return found


def seconds(work, samples):
    """Fastest and median of `samples` calls, after one to warm up."""
    work()
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken), statistics.median(taken)


def padded_batches(seqlens, token_budget):
    """Ascending length; a batch closes before longest × count would exceed the budget."""
    batches, current = [], []
    for seqlen in sorted(seqlens):
        if current and seqlen * (len(current) + 1) > token_budget:
            batches.append(current)
            current = []
        current.append(seqlen)
    batches.append(current)
    tensors = []
    for batch in batches:
        ids = torch.full((len(batch), max(batch)), PAD)
        for row, seqlen in enumerate(batch):
            ids[row, :seqlen] = torch.arange(seqlen) % 19 + 5
        tensors.append((ids, ids != PAD))
    return tensors


def embed(model, batches):
    for ids, mask in batches:
        hidden = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        for row, seqlen in zip(hidden, mask.sum(dim=1)):
            row[1 : seqlen - 1].mean(dim=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", required=True, help="directory of a Hugging Face ESM-2 model")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--samples", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--token-budgets", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--only", choices=["linear", "forward"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"# torch {torch.__version__}, {args.threads} threads; fastest and median")

    with torch.inference_mode():
        if args.only != "forward":
            for name, inputs, outputs in LAYERS:
                x, weight, bias = (
                    torch.rand(shape) - 0.5 for shape in [(ROWS, inputs), (outputs, inputs), (outputs,)]
                )
                taken = seconds(lambda: torch.nn.functional.linear(x, weight, bias), args.samples)
                rates = [2 * ROWS * inputs * outputs / t / 1e9 for t in taken]
                print(f"linear\t{name} {inputs}x{outputs}\t{rates[0]:.1f}\t{rates[1]:.1f}\tGFLOP/s")
        if args.only != "linear":
            model = EsmModel.from_pretrained(args.model, dtype=torch.float32, add_pooling_layer=False)
            model.eval()
            seqlens = lengths(args.tokens)
            for token_budget in args.token_budgets:
                batches = padded_batches(seqlens, token_budget)
                taken = seconds(lambda: embed(model, batches), args.samples)
                rates = [sum(seqlens) / t for t in taken]
                padded = sum(ids.numel() for ids, _ in batches)
                waste = 1 - sum(seqlens) / padded
                print(
                    f"forward\ttoken_budget {token_budget}, padding_waste {waste:.3f}"
                    f"\t{rates[0]:.0f}\t{rates[1]:.0f}\ttokens/s"
                )


if __name__ == "__main__":
    main()
