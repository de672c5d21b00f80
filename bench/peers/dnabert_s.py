"""DNABERT-S with random weights, as published (see mosaic_bert.py).

    python3 bench/peers/dnabert_s.py --lengths fixed:112 proteome

Prints one JSON object per measurement: one sequence a call in f32, as the original tool runs it;
then padded batches in f32 and in half precision. Needs torch alone, no files and no network.
"""

import argparse
import json
import time

import measure
import torch
import workloads
from mosaic_bert import MosaicBert

RUNS = (
    ("DNABERT-S, one sequence a call", "f32", measure.one_by_one),
    ("DNABERT-S, batches", "f32", measure.best_budget),
    ("DNABERT-S, batches", "half", measure.best_budget),
)
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def mean_over_tokens(model, ids, lengths, _padded):
    """f32 `[sequences, hidden]`; `[CLS]` and `[SEP]` count, padding does not."""
    mask = (torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]).long()
    # Rows of padding are zero.
    return model(ids, mask).float().sum(1) / lengths[:, None]


def random_model(device):
    with torch.device(device):
        model = MosaicBert()
    for parameter in model.parameters():
        if parameter.dim() == 2:
            torch.nn.init.normal_(parameter, std=0.02)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--precision", choices=["f16", "bf16"], default="f16", help="of the last run"
    )
    measure.add_arguments(parser)
    options = parser.parse_args()
    with torch.inference_mode():
        model = random_model(options.device)
        for peer, precision, run in RUNS:
            precision = options.precision if precision == "half" else precision
            model.to(DTYPES[precision])
            for lengths in options.lengths:
                start = time.perf_counter()
                measured = run(
                    lambda *batch: mean_over_tokens(model, *batch),
                    lengths,
                    workloads.DNABERT_S,
                    model.config.hidden_size,
                    options,
                )
                names = {"peer": peer, "model": "dnabert-s", "lengths": lengths}
                spent = {"precision": precision, "total_seconds": time.perf_counter() - start}
                print(json.dumps(names | spent | measured), flush=True)


if __name__ == "__main__":
    main()
