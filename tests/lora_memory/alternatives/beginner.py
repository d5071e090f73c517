"""Step by step, every check and every number written out; communication as a fraction of the gradients."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryBudget:
    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self):
        return self.weights + self.gradients + self.optimizer + self.activations


def full_finetune_bytes(in_features, out_features, batch, *, dtype_bytes=4, optimizer_states=2):
    if in_features < 1:
        raise ValueError("in_features")
    if out_features < 1:
        raise ValueError("out_features")
    if batch < 1:
        raise ValueError("batch")
    if dtype_bytes < 1:
        raise ValueError("dtype_bytes")
    if optimizer_states < 0:
        raise ValueError("optimizer_states")
    weights = in_features * out_features * dtype_bytes
    gradients = weights
    optimizer = 0
    for _ in range(optimizer_states):
        optimizer = optimizer + weights
    activations = batch * in_features * dtype_bytes
    return MemoryBudget(weights, gradients, optimizer, activations)


def lora_finetune_bytes(in_features, out_features, batch, rank, *, dtype_bytes=4, optimizer_states=2):
    if rank < 1:
        raise ValueError("rank")
    full = full_finetune_bytes(
        in_features, out_features, batch, dtype_bytes=dtype_bytes, optimizer_states=optimizer_states
    )
    a = rank * in_features * dtype_bytes
    b = rank * out_features * dtype_bytes
    hidden = batch * rank * dtype_bytes
    return MemoryBudget(full.weights + a + b, a + b, optimizer_states * (a + b), full.activations + hidden)


def communication_bytes(trainable_parameters, workers, *, dtype_bytes=4):
    if trainable_parameters < 0:
        raise ValueError("trainable_parameters")
    if workers < 1:
        raise ValueError("workers")
    if dtype_bytes < 1:
        raise ValueError("dtype_bytes")
    gradients = trainable_parameters * dtype_bytes
    return gradients * (2 * (workers - 1)) / workers
