"""The classification loop.

How do you train a classifier in PyTorch? Write the loop that every project contains: one epoch of training, one pass
of evaluation, and the `fit` that alternates them and keeps the best weights. Most bugs here raise nothing. The loss
still goes down, only the numbers are wrong.

A loader is any iterable of batches (inputs, targets). The batches may differ in size, `len(loader)` need not exist,
and a stream passes only once. Inputs go into the model in the shape in which they come. `loss_fn(logits, targets)`
returns the mean over its batch (cross-entropy takes the raw logits). Hence, over an epoch of N samples in batches of
n_b:

    loss = sum_b n_b * loss_b / N            accuracy = (samples whose largest logit is their target) / N

The caller has moved the model to `device`; the batches are moved here.

Stage 1: one epoch of SGD, evaluation, `fit` with a scheduler.  Stage 2: modes, odd loaders, ties, what is restored.
Stage 3: graphs and half precision.  Stage 4: one forward per batch, no more work than needed; handwritten digits. On
a GPU, nothing waits for the device once per batch.
"""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

Batch = tuple[Float[Tensor, "batch *features"], Int64[Tensor, " batch"]]
LossFn = Callable[[Float[Tensor, "batch classes"], Int64[Tensor, " batch"]], Float[Tensor, ""]]


class EpochResult(NamedTuple):
    """What one pass over a loader came to, as Python floats."""

    loss: float  # mean per sample
    accuracy: float  # fraction of the samples, in [0, 1]


# kata: begin
class _Totals:
    """Sums over the samples so far. They stay on the device: reading them after every batch would wait for it."""

    def __init__(self) -> None:
        self.samples = 0
        self.loss: Tensor | int = 0
        self.correct: Tensor | int = 0

    def add(self, loss: Tensor, logits: Tensor, targets: Tensor) -> None:
        # Detached, or the sum would hold every batch's graph; float, because a sum of halves overflows at 65504.
        self.loss += loss.detach().float() * len(targets)
        self.correct += (logits.argmax(1) == targets).sum()  # (batch, classes) -> (batch,) -> ()
        self.samples += len(targets)

    def result(self) -> EpochResult:
        if self.samples == 0:
            raise ValueError("the loader gave no batches, so there is no mean to report")
        return EpochResult(float(self.loss) / self.samples, float(self.correct) / self.samples)


def _moved(loader: Iterable[Batch], device: torch.device | str) -> Iterator[list[Tensor]]:
    for batch in loader:
        yield [part.to(device, non_blocking=True) for part in batch]


# kata: end


def train_one_epoch(
    model: nn.Module, loader: Iterable[Batch], loss_fn: LossFn, optimizer: Optimizer, device: torch.device | str
) -> EpochResult:
    """One optimizer step per batch, in train mode, in one pass over the loader; the model is left in train mode.

    Every step follows the gradient of its own batch's mean loss, as it is, for all that `optimizer` holds (a loss may
    have parameters of its own). No batch is left out: not a short last one, and none for its loss. Loss and accuracy
    come from the forward passes that train, so each batch is measured just before its step, and runs forward only once.
    No graph outlives its step. Sums and counts are kept in float32 or wider whatever the model's dtype. Nothing but
    the model and the loader draws random numbers.
    Raises ValueError if the loader gives no batches.
    """
    # kata: begin
    model.train()
    totals = _Totals()
    for inputs, targets in _moved(loader, device):
        logits = model(inputs)
        loss = loss_fn(logits, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.add(loss, logits, targets)
    return totals.result()
    # kata: end


def evaluate(model: nn.Module, loader: Iterable[Batch], loss_fn: LossFn, device: torch.device | str) -> EpochResult:
    """Loss and accuracy in eval mode, in one pass over the loader and one forward per batch, without building a graph.

    Nothing is left changed: parameters (frozen ones stay frozen), buffers, gradients, the mode (train or eval) in
    which every submodule came, and whether autograd is on for the caller.
    Sums and counts are kept in float32 or wider whatever the model's dtype. Raises ValueError if the loader gives no
    batches.
    """
    # kata: begin
    modes = [(module, module.training) for module in model.modules()]  # some may be in eval mode among training ones
    model.eval()
    totals = _Totals()
    with torch.no_grad():
        for inputs, targets in _moved(loader, device):
            logits = model(inputs)
            totals.add(loss_fn(logits, targets), logits, targets)
    for module, training in modes:
        module.training = training
    return totals.result()
    # kata: end


def fit(
    model: nn.Module,
    train_loader: Iterable[Batch],
    val_loader: Iterable[Batch],
    loss_fn: LossFn,
    optimizer: Optimizer,
    *,
    epochs: int,
    scheduler: LRScheduler | None = None,
    device: torch.device | str = "cpu",
) -> list[dict[str, Any]]:
    """Trains for `epochs` epochs, then puts the weights of the lowest validation loss back into the model.

    Returns one dict of plain numbers per epoch: epoch (counted from 1), train_loss, train_accuracy, val_loss,
    val_accuracy and lr, the learning rate of the first parameter group that this epoch trained with.

    Each epoch passes once over `train_loader`, then once over `val_loader`; none is left out, however the losses go.
    `scheduler.step()` is called without arguments, once per epoch, after the epoch's optimizer steps (so
    ReduceLROnPlateau is not for this loop).
    Restored is the whole state_dict, buffers such as BatchNorm's statistics included, of the first epoch with the
    lowest loss. It is restored in place, so that the optimizer still trains this model afterwards. NaN and +inf are
    never the lowest; if no validation loss is anything else, the weights stay as the last epoch left them.
    Raises ValueError if `epochs` is less than 1.
    """
    # kata: begin
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    history = []
    best_loss, best_state = math.inf, None
    for epoch in range(1, epochs + 1):
        lr = optimizer.param_groups[0]["lr"]
        train = train_one_epoch(model, train_loader, loss_fn, optimizer, device)
        val = evaluate(model, val_loader, loss_fn, device)
        if scheduler is not None:
            scheduler.step()
        if val.loss < best_loss:
            # state_dict() refers to the live tensors: without a copy it would follow the training.
            best_loss, best_state = val.loss, copy.deepcopy(model.state_dict())
        history.append(
            {
                "epoch": epoch,
                "train_loss": train.loss,
                "train_accuracy": train.accuracy,
                "val_loss": val.loss,
                "val_accuracy": val.accuracy,
                "lr": lr,
            }
        )
    if best_state is not None:
        model.load_state_dict(best_state)
    return history
    # kata: end
