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
    raise NotImplementedError("classification_loop.train_one_epoch: write me")


def evaluate(model: nn.Module, loader: Iterable[Batch], loss_fn: LossFn, device: torch.device | str) -> EpochResult:
    """Loss and accuracy in eval mode, in one pass over the loader and one forward per batch, without building a graph.

    Nothing is left changed: parameters (frozen ones stay frozen), buffers, gradients, the mode (train or eval) in
    which every submodule came, and whether autograd is on for the caller.
    Sums and counts are kept in float32 or wider whatever the model's dtype. Raises ValueError if the loader gives no
    batches.
    """
    raise NotImplementedError("classification_loop.evaluate: write me")


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
    raise NotImplementedError("classification_loop.fit: write me")
