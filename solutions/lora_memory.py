"""What LoRA saves.

LoRA: does it save memory or bandwidth? Answer in bytes, for one linear layer without bias, W [out, in], that takes
`batch` rows (batch times sequence length) through a training step. LoRA freezes W and trains A [rank, in] and
B [out, rank] beside it: y = x W^T + s (x A^T) B^T.

    weights       every parameter, frozen or not
    gradients     one number per trainable parameter
    optimizer     optimizer_states numbers per trainable parameter: 2 for Adam, 1 for momentum, 0 for SGD
    activations   the tensors, other than parameters, that the forward keeps for the backward, each once:
                  what the gradients of the *trainable* matrices are made of. dL/dW = g^T x needs x
                  [batch, in]; dL/dA needs x as well, and dL/dB needs x A^T [batch, rank]. The output y
                  and the scale s are not kept

So LoRA shrinks gradients, optimizer state and what data-parallel workers exchange, but not the weights, and the
activations even grow a little. Each number has dtype_bytes bytes, the gradients and the optimizer's states, too.

A ring all-reduce of G bytes over n workers cuts them into n chunks. In n - 1 steps each worker passes a chunk on and
adds the one that it receives; in n - 1 more the finished chunks go round.

Stage 1: worked numbers, and a real layer's bytes.  Stage 2: other optimizers, sizes and worker counts, wrong values.
Stage 3: half precision, exact integers.  Stage 4: a layer too large to build.

Sources: Hu et al., "LoRA" (2021); Patarasuk and Yuan, "Bandwidth Optimal All-reduce Algorithms" (2009).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes of one layer in a training step, as exact integers."""

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.activations


# kata: begin
def _budget(frozen: int, trainable: int, kept: int, dtype_bytes: int, optimizer_states: int) -> MemoryBudget:
    return MemoryBudget(
        weights=(frozen + trainable) * dtype_bytes,
        gradients=trainable * dtype_bytes,
        optimizer=optimizer_states * trainable * dtype_bytes,
        activations=kept * dtype_bytes,
    )


def _check(optimizer_states: int, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}")
    if optimizer_states < 0:
        raise ValueError(f"optimizer_states must not be negative, got {optimizer_states}")


# kata: end


def full_finetune_bytes(
    in_features: int, out_features: int, batch: int, *, dtype_bytes: int = 4, optimizer_states: int = 2
) -> MemoryBudget:
    """The budget when W itself is trained.

    Raises ValueError if optimizer_states is negative or any other argument is below 1.

    >>> full_finetune_bytes(4096, 1024, 8)
    MemoryBudget(weights=16777216, gradients=16777216, optimizer=33554432, activations=131072)
    """
    # kata: begin
    _check(optimizer_states, in_features=in_features, out_features=out_features, batch=batch, dtype_bytes=dtype_bytes)
    return _budget(0, in_features * out_features, batch * in_features, dtype_bytes, optimizer_states)
    # kata: end


def lora_finetune_bytes(
    in_features: int, out_features: int, batch: int, rank: int, *, dtype_bytes: int = 4, optimizer_states: int = 2
) -> MemoryBudget:
    """The budget when W is frozen and A and B are trained, not merged and without dropout. Any rank >= 1 is allowed.

    Raises ValueError if optimizer_states is negative or any other argument is below 1.

    >>> lora_finetune_bytes(4096, 1024, 8, rank=16)
    MemoryBudget(weights=17104896, gradients=327680, optimizer=655360, activations=131584)
    """
    # kata: begin
    sizes = {"in_features": in_features, "out_features": out_features, "batch": batch, "rank": rank}
    _check(optimizer_states, dtype_bytes=dtype_bytes, **sizes)
    adapter = rank * in_features + out_features * rank  # A and B
    kept = batch * in_features + batch * rank  # x for A, x A^T for B
    return _budget(in_features * out_features, adapter, kept, dtype_bytes, optimizer_states)
    # kata: end


def communication_bytes(trainable_parameters: int, workers: int, *, dtype_bytes: int = 4) -> float:
    """The bytes that each worker sends in a step, when a ring all-reduce averages the gradients over all workers.

    Not rounded, where the chunks do not come out even. One worker sends nothing.
    Raises ValueError if trainable_parameters is negative or another argument is below 1.

    >>> communication_bytes(1000, 4)
    6000.0
    """
    # kata: begin
    if trainable_parameters < 0 or workers < 1 or dtype_bytes < 1:
        raise ValueError(f"wrong sizes: {trainable_parameters=}, {workers=}, {dtype_bytes=}")
    return 2 * (workers - 1) * trainable_parameters * dtype_bytes / workers
    # kata: end
