"""Shapes in place of formulas: tensors on the meta device, which have a size but no memory."""

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class MemoryBudget:
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self):
        return self.weights + self.gradients + self.optimizer + self.activations


DTYPES = {1: torch.int8, 2: torch.float16, 4: torch.float32, 8: torch.float64}


def _meta(dtype_bytes, *shape):
    if min(shape) < 1 or dtype_bytes not in DTYPES:
        raise ValueError(f"{shape} of {dtype_bytes} bytes")
    return torch.empty(shape, dtype=DTYPES[dtype_bytes], device="meta")


def _nbytes(tensors):
    return sum(math.prod(t.shape) * t.element_size() for t in tensors)


def _count(frozen, trainable, kept, states):
    if states < 0:
        raise ValueError("states")
    state = [torch.empty_like(p) for p in trainable for _ in range(states)]
    grads = [torch.empty_like(p) for p in trainable]
    return MemoryBudget(_nbytes(frozen + trainable), _nbytes(grads), _nbytes(state), _nbytes(kept))


def full_finetune_bytes(in_features, out_features, batch, *, dtype_bytes=4, optimizer_states=2):
    w, x = _meta(dtype_bytes, out_features, in_features), _meta(dtype_bytes, batch, in_features)
    return _count([], [w], [x], optimizer_states)


def lora_finetune_bytes(in_features, out_features, batch, rank, *, dtype_bytes=4, optimizer_states=2):
    w, x = _meta(dtype_bytes, out_features, in_features), _meta(dtype_bytes, batch, in_features)
    a, b = _meta(dtype_bytes, rank, in_features), _meta(dtype_bytes, out_features, rank)
    return _count([w], [a, b], [x, x @ a.T if dtype_bytes > 1 else _meta(1, batch, rank)], optimizer_states)


def communication_bytes(trainable_parameters, workers, *, dtype_bytes=4):
    if trainable_parameters < 0 or workers < 1 or dtype_bytes < 1:
        raise ValueError("sizes")
    return trainable_parameters * dtype_bytes * (workers - 1) * 2 / workers
