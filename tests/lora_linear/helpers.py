"""What any right LoRA layer does. Nothing asks how A is initialised, or whether unmerging subtracts or restores."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import randn
from dojo.testing.modules import fill
from katas.lora_linear import LoRALinear

X = torch.tensor([1.0, 2.0, 3.0])
ANSWER = torch.tensor([51.5, 19.0, 54.0, 46.0])
MERGED = torch.tensor([[2.5, 15, 3], [0, -0.5, 0], [3, 0, 7], [1, 1, 1]])


def worked_example(dropout=0.0):
    """At x = [1, 2, 3]: W x + b = [11, 22, 33, 46], A x = [7, 2], B A x = [27, -2, 14, 0]; alpha / rank = 3 / 2."""
    layer = LoRALinear(nn.Linear(3, 4), 2, 3, dropout)
    fill(layer.base.weight, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    fill(layer.base.bias, [10, 20, 30, 40])
    fill(layer.lora_A, [[1, 0, 2], [0, 1, 0]], what="lora_A")
    fill(layer.lora_B, [[1, 10], [0, -1], [2, 0], [0, 0]], what="lora_B")
    return layer


def trained(rng, in_features=5, out_features=7, rank=3, alpha=1.5, dropout=0.0, bias=True, dtype=torch.float32):
    """A layer in the middle of its training: B is no longer zero."""
    layer = LoRALinear(nn.Linear(in_features, out_features, bias, dtype=dtype), rank, alpha, dropout)
    fill(layer.lora_A, randn(rng, rank, in_features), what="lora_A")
    fill(layer.lora_B, randn(rng, out_features, rank), what="lora_B")
    return layer


def vectors(rng, *shape):
    return randn(rng, *shape, dtype=torch.float32)


def frozen(layer, x):
    """What the base answers, from its weight and bias alone."""
    return F.linear(x, layer.base.weight, layer.base.bias)
