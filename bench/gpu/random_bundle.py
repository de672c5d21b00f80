"""Writes an ESM-2, a DNABERT-S and a classifier of published sizes with random weights, to time `predict` with.

    python3 bench/gpu/random_bundle.py --esm2 esm2-650m --out parts
    virnucpro models bundle --protein parts/esm2 --nucleotide parts/dnabert_s \\
        --classifier 300,500=parts/head.safetensors -o random
    virnucpro predict examples/contigs.fasta --model random --no-dedup --device cuda -o out

Tensors are those of models/mini, larger; the tokenizer is that of mini, whose 2,048 words cut nucleotides into more
tokens than the 4,096 of DNABERT-S. Needs torch and safetensors; writes f16.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

MINI = Path(__file__).resolve().parents[2] / "models/mini"
sys.path.insert(0, str(MINI.parents[1] / "bench/peers"))
from esm2_hf import SIZES  # noqa: E402

# Layers, hidden size, heads, intermediate size.
DNABERT_S = (12, 768, 12, 3072)
HEAD_SIZE = 128


def random(name, shape, dtype=torch.float16):
    if name.endswith(("LayerNorm.weight", "layernorm.weight", "layer_norm_after.weight", "bn1.weight", "var")):
        return torch.ones(shape, dtype=dtype)
    if len(shape) == 1:
        return torch.zeros(shape, dtype=dtype)
    return (torch.randn(shape) * 0.02).to(dtype)


def write(family, size, out):
    """The encoder `family` of mini in another size."""
    source, target = MINI / family, out / family
    target.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    names = "num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"
    # What each extent of mini stands for; gated layers and q, k and v have several in one.
    wider = {times * config[name]: times * new for times in (3, 2, 1) for name, new in zip(names[1::2], size[1::2])}
    tensors = {}
    with safe_open(source / "model.safetensors", "pt") as mini:
        for name in mini.keys():
            shape = [wider.get(extent, extent) for extent in mini.get_slice(name).get_shape()]
            layers = range(size[0]) if ".layer.0." in name else [] if ".layer." in name else [None]
            for layer in layers:
                key = name if layer is None else name.replace(".layer.0.", f".layer.{layer}.")
                tensors[key] = random(key, shape)
    save_file(tensors, target / "model.safetensors")
    (target / "config.json").write_text(json.dumps(config | dict(zip(names, size)), indent=1))
    if (source / "tokenizer.json").exists():
        shutil.copy(source / "tokenizer.json", target)


def write_head(features, path):
    shapes = {"hidden_layer.weight": (HEAD_SIZE, features), "hidden_layer.bias": (HEAD_SIZE,)}
    shapes |= {"output_layer.weight": (2, HEAD_SIZE), "output_layer.bias": (2,)}
    shapes |= {f"bn1.{name}": (HEAD_SIZE,) for name in ("weight", "bias", "running_mean", "running_var")}
    save_file({name: random(name, shape, torch.float32) for name, shape in shapes.items()}, path)


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--esm2", choices=SIZES, default="esm2-650m")
    options.add_argument("--out", type=Path, required=True)
    options = options.parse_args()
    torch.manual_seed(1)
    write("esm2", SIZES[options.esm2], options.out)
    write("dnabert_s", DNABERT_S, options.out)
    write_head(DNABERT_S[1] + SIZES[options.esm2][1], options.out / "head.safetensors")


if __name__ == "__main__":
    main()
