"""Exact fractions for the ring, message by message in closed form; the formula factored the other way."""

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class MemoryBudget:
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self):
        return self.weights + self.gradients + self.optimizer + self.activations


def _positive(*sizes):
    if not all(size > 0 for size in sizes):
        raise ValueError(f"sizes must be positive, got {sizes}")


def _per_parameter(states, dtype_bytes):
    if states < 0:
        raise ValueError("states")
    return dtype_bytes, dtype_bytes, states * dtype_bytes


def full_finetune_bytes(in_features, out_features, batch, *, dtype_bytes=4, optimizer_states=2):
    _positive(in_features, out_features, batch, dtype_bytes)
    parts = [in_features * out_features * each for each in _per_parameter(optimizer_states, dtype_bytes)]
    return MemoryBudget(*parts, activations=in_features * batch * dtype_bytes)


def lora_finetune_bytes(in_features, out_features, batch, rank, *, dtype_bytes=4, optimizer_states=2):
    _positive(in_features, out_features, batch, rank, dtype_bytes)
    weights, *rest = [rank * (in_features + out_features) * b for b in _per_parameter(optimizer_states, dtype_bytes)]
    weights += in_features * out_features * dtype_bytes
    return MemoryBudget(weights, *rest, activations=(in_features + rank) * batch * dtype_bytes)


def communication_bytes(trainable_parameters, workers, *, dtype_bytes=4):
    _positive(workers, dtype_bytes, trainable_parameters + 1)
    message = Fraction(trainable_parameters * dtype_bytes, workers)
    return float((workers - 1) * message + (workers - 1) * message)
