"""The encoder of DNABERT-S (MosaicBERT), restated from its description, without Triton.

It does the operations of the published code in the published order: linear layers and norms see
packed tokens; attention scatters them into padded rows, adds one explicit bias (ALiBi and mask) to
the scores and gathers the result.
Source: MAGICS-LAB/DNABERT_S, evaluate/model_codes/bert_layers.py.
"""

import math
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Config:
    """Defaults are DNABERT-S."""

    num_hidden_layers: int = 12
    hidden_size: int = 768
    heads: int = 12
    intermediate_size: int = 3072
    vocab_size: int = 4096
    eps: float = 1e-12


@dataclass
class Packing:
    """Where packed tokens lie in `[sequences, seqlen]`."""

    indices: torch.Tensor
    sequences: int
    seqlen: int

    def pad(self, packed):
        padded = packed.new_zeros(self.sequences * self.seqlen, packed.shape[-1])
        padded[self.indices] = packed
        return padded.view(self.sequences, self.seqlen, -1)

    def pack(self, padded):
        return padded.flatten(0, 1)[self.indices]


def slopes(heads):
    """2^(-8/p), 2^(-16/p), ... for the largest power of two p; then every other one of 2p."""
    power = 2 ** math.floor(math.log2(heads))
    first = [2.0 ** (-8.0 * (i + 1) / power) for i in range(power)]
    return first + [2.0 ** (-4.0 * (2 * i + 1) / power) for i in range(heads - power)]


def alibi(heads, seqlen):
    position = torch.arange(seqlen)
    distance = (position[:, None] - position).abs()
    return -torch.tensor(slopes(heads))[:, None, None] * distance


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.out = nn.Linear(config.hidden_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.eps)

    def forward(self, hidden, packing, bias):
        qkv = packing.pad(self.qkv(hidden)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        mixed = (scores + bias).softmax(-1) @ v
        mixed = packing.pack(mixed.transpose(1, 2).flatten(-2))
        return self.norm(self.out(mixed) + hidden)


class GatedMlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gated_layers = nn.Linear(config.hidden_size, 2 * config.intermediate_size, bias=False)
        self.wo = nn.Linear(config.intermediate_size, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.eps)

    def forward(self, hidden):
        gate, value = self.gated_layers(hidden).chunk(2, -1)
        return self.norm(self.wo(nn.functional.gelu(gate) * value) + hidden)


class MosaicBert(nn.Module):
    """`forward(ids, mask)` gives `[sequences, seqlen, hidden]`, zero where the mask is zero."""

    def __init__(self, config=Config()):
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocab_size, config.hidden_size)
        self.token_types = nn.Embedding(2, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.eps)
        self.attention = nn.ModuleList(Attention(config) for _ in range(config.num_hidden_layers))
        self.mlp = nn.ModuleList(GatedMlp(config) for _ in range(config.num_hidden_layers))
        self.register_buffer("alibi", alibi(config.heads, 512))

    def bias(self, mask):
        seqlen = mask.shape[1]
        if seqlen > self.alibi.shape[-1]:
            self.alibi = alibi(self.config.heads, seqlen).to(self.alibi)
        masked = (1 - mask[:, None, None].to(self.alibi)) * -10000.0
        return self.alibi[:, :seqlen, :seqlen] + masked

    def forward(self, ids, mask):
        hidden = self.norm(self.words(ids) + self.token_types(torch.zeros_like(ids)))
        packing = Packing(mask.flatten().nonzero().flatten(), *ids.shape)
        bias = self.bias(mask)
        hidden = packing.pack(hidden)
        for attention, mlp in zip(self.attention, self.mlp):
            hidden = mlp(attention(hidden, packing, bias))
        return packing.pad(hidden)
