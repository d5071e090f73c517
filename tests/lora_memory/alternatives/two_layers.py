"""LoRA as a frozen layer beside two trained layers in a row, whose budgets are added up field by field."""

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
    if min(in_features, out_features, batch, dtype_bytes) <= 0 or optimizer_states <= -1:
        raise ValueError("sizes are positive")
    size = dtype_bytes * in_features * out_features
    return MemoryBudget(size, size, size * optimizer_states, dtype_bytes * in_features * batch)


def lora_finetune_bytes(in_features, out_features, batch, rank, *, dtype_bytes=4, optimizer_states=2):
    options = {"dtype_bytes": dtype_bytes, "optimizer_states": optimizer_states}
    down = full_finetune_bytes(in_features, rank, batch, **options)
    up = full_finetune_bytes(rank, out_features, batch, **options)
    frozen = full_finetune_bytes(in_features, out_features, batch, **options).weights
    return MemoryBudget(
        frozen + down.weights + up.weights,
        down.gradients + up.gradients,
        down.optimizer + up.optimizer,
        down.activations + up.activations,
    )


def communication_bytes(trainable_parameters, workers, *, dtype_bytes=4):
    if trainable_parameters <= -1 or min(workers, dtype_bytes) <= 0:
        raise ValueError("sizes are positive")
    return (2 * trainable_parameters * dtype_bytes * workers - 2 * trainable_parameters * dtype_bytes) / workers
