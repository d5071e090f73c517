"""One running total for each field, from a list of matrices that says which are trained and what each one reads."""

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


def _add_up(matrices, batch, dtype_bytes, optimizer_states):
    if batch < 1 or dtype_bytes < 1 or optimizer_states < 0:
        raise ValueError("batch, dtype_bytes or optimizer_states")
    numbers = {"weights": 0, "gradients": 0, "optimizer": 0, "activations": 0}
    for rows, columns, trained in matrices:
        if rows < 1 or columns < 1:
            raise ValueError("an empty matrix")
        numbers["weights"] += rows * columns
        if trained:
            numbers["gradients"] += rows * columns
            numbers["optimizer"] += rows * columns * optimizer_states
            numbers["activations"] += batch * columns
    return MemoryBudget(**{name: number * dtype_bytes for name, number in numbers.items()})


def full_finetune_bytes(in_features, out_features, batch, *, dtype_bytes=4, optimizer_states=2):
    return _add_up([(out_features, in_features, True)], batch, dtype_bytes, optimizer_states)


def lora_finetune_bytes(in_features, out_features, batch, rank, *, dtype_bytes=4, optimizer_states=2):
    matrices = [(out_features, in_features, False), (rank, in_features, True), (out_features, rank, True)]
    return _add_up(matrices, batch, dtype_bytes, optimizer_states)


def communication_bytes(trainable_parameters, workers, *, dtype_bytes=4):
    if not (trainable_parameters >= 0 and workers >= 1 and dtype_bytes >= 1):
        raise ValueError("sizes")
    reduce_scatter = all_gather = trainable_parameters * dtype_bytes * (workers - 1)
    return (reduce_scatter + all_gather) / workers
