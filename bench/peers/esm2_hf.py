"""Hugging Face `EsmModel` with random weights, SDPA attention, as it comes and under `torch.compile`.

    python3 bench/peers/esm2_hf.py --model esm2-3b --lengths fixed:168 proteome

Prints one JSON object per measurement. Needs torch and transformers, no files and no network.

Choices, in their favour: SDPA attention; no mask where a batch has no padding, so that SDPA may
take its flash kernel; static sequence length for `fixed`, dynamic for others, so that nothing is
compiled again for each shape. Each encoder layer is compiled by itself, and all layers share the
result, so that compiling takes seconds. A single graph would also merge the residual addition
between two layers: one pass over the hidden states in each layer, by count about half a percent of
the time of the 3B model.
"""

import argparse
import json
import time

import measure
import torch
import transformers
import workloads

# Hidden layers, hidden size, heads, intermediate size.
SIZES = {
    "esm2-8m": (6, 320, 20, 1280),
    "esm2-35m": (12, 480, 20, 1920),
    "esm2-150m": (30, 640, 20, 2560),
    "esm2-650m": (33, 1280, 20, 5120),
    "esm2-3b": (36, 2560, 40, 10_240),
}
PRECISIONS = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}


def random_model(name, precision, device):
    layers, hidden_size, heads, intermediate_size = SIZES[name]
    config = transformers.EsmConfig(
        vocab_size=33,
        pad_token_id=workloads.ESM2.pad,
        mask_token_id=32,
        num_hidden_layers=layers,
        hidden_size=hidden_size,
        num_attention_heads=heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=1026,
        position_embedding_type="rotary",
        layer_norm_eps=1e-5,
        token_dropout=True,
        emb_layer_norm_before=False,
    )
    # Weights are drawn on the device in their final precision; on a CPU, 3B would take minutes.
    with torch.device(device):
        model = transformers.AutoModel.from_config(
            config,
            attn_implementation="sdpa",
            dtype=PRECISIONS[precision],
            add_pooling_layer=False,
        )
    return model.eval()


def mean_over_residues(model, ids, lengths, padded):
    """f32 `[sequences, hidden]`; `<cls>` and `<eos>` do not count."""
    position = torch.arange(ids.shape[1], device=ids.device)
    mask = (position < lengths[:, None]).long() if padded else None
    hidden = model(input_ids=ids, attention_mask=mask).last_hidden_state
    residues = (position > 0) & (position < lengths[:, None] - 1)
    return (hidden.float() * residues[..., None]).sum(1) / (lengths[:, None] - 2)


def compile_layers(model, lengths):
    torch._dynamo.reset()
    for layer in model.encoder.layer:
        layer.compile(dynamic=None if lengths.startswith("fixed:") else True)


def run(model, peer, lengths, options):
    start = time.perf_counter()
    measured = measure.best_budget(
        lambda *batch: mean_over_residues(model, *batch),
        lengths,
        workloads.ESM2,
        model.config.hidden_size,
        options,
    )
    names = {"peer": peer, "model": options.model, "lengths": lengths}
    spent = {"precision": options.precision, "total_seconds": time.perf_counter() - start}
    print(json.dumps(names | spent | measured), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", choices=SIZES, required=True)
    parser.add_argument("--precision", choices=PRECISIONS, default="f16")
    parser.add_argument("--skip-compile", action="store_true")
    measure.add_arguments(parser)
    options = parser.parse_args()
    with torch.inference_mode():
        model = random_model(options.model, options.precision, options.device)
        for lengths in options.lengths:
            run(model, "EsmModel, SDPA", lengths, options)
        if options.skip_compile:
            return
        for lengths in options.lengths:
            compile_layers(model, lengths)
            run(model, "EsmModel, torch.compile", lengths, options)


if __name__ == "__main__":
    main()
