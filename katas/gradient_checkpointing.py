"""Gradient checkpointing.

Trade compute for memory: write activation checkpointing as an autograd function, right with dropout. How many segments
for n layers?

A forward pass keeps the activations that its backward pass needs. A checkpoint keeps only the arguments of a part of
the model, and runs that part once more in the backward pass. A training step then costs four forward passes, not three.

`function` is any callable. It reads its arguments, leaf tensors that it closes over (the parameters of its layers, for
example) and torch's random stream. It changes none of its arguments and gives the same result whenever these are the
same. Nobody changes arguments or parameters before the backward pass.

Rules: torch.utils.checkpoint is forbidden, and so is what torch.distributed makes of it. torch.autograd, its Function
and its saved-tensor hooks are allowed. Gradients are asked for by .backward() on something that is computed from the
results; first derivatives are enough. No argument is modified. Compute with torch.

Stage 1: one tensor in, one out; the parameters; segments.  Stage 2: several arguments and results, None, other objects,
parameters only, uneven segments, wrong arguments.  Stage 3: dropout, autocast, every dtype, checkpoints in checkpoints.
Stage 4: what is kept, how often layers run, FLOPs.

Sources: Griewank and Walther, "Algorithm 799: Revolve" (2000); Chen et al., "Training Deep Nets with Sublinear Memory
Cost" (2016).
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def checkpoint(function: Callable[..., Any], *args: Any) -> Tensor | tuple[Any, ...]:
    """function(*args), of which only the arguments are kept for the backward pass; that runs `function` again.

    Arguments are tensors of any dtype and any other objects, in any order. A result is a tensor, or a tuple of tensors,
    None and any other objects; it is what the plain call gives, but may carry a graph where that carries none. The
    gradients are those of the plain call, too: of each tensor argument that requires one, and of every leaf tensor that
    `function` closes over, also where no argument requires a gradient (as in a model's first layer). Tensors inside
    lists or other objects need no gradient. A result that the loss doesn't use passes nothing back, not even where its
    slope is infinite.

    `function` runs once in the forward pass and once more in a backward pass, even where several results are used.
    Without a backward pass it runs once, and under torch.no_grad() and torch.inference_mode() this is a plain call.
    backward(retain_graph=True) can be followed by another backward.

    The second run sees the random stream of torch (on all devices) as it was before the first run, so that dropout
    drops the same; afterwards the stream stands where it stood before the second run. It also runs under the autocast
    state of the first (on or off, and its dtype, on the CPU and on CUDA), whatever the state at backward is. The call
    leaves both as a plain call does.
    """
    raise NotImplementedError("gradient_checkpointing.checkpoint: write me")


def checkpoint_sequential(layers: Sequence[nn.Module], segments: int, x: Tensor) -> Tensor:
    """layers[-1](...layers[1](layers[0](x))), in at most `segments` runs of consecutive layers, each under a checkpoint.

    No run is longer than ceil(len(layers) / segments) layers, and the last one is under a checkpoint, too. Between the
    passes nothing but the runs' inputs is kept; in the backward pass, beside them only what one run computes.

    Raises ValueError unless 1 <= segments <= len(layers), before any layer runs.
    """
    raise NotImplementedError("gradient_checkpointing.checkpoint_sequential: write me")


def best_segments(layers: int) -> int:
    """The number of segments for which a training step of `layers` equal layers keeps fewest layer inputs at its peak.

    With s segments of at most ceil(layers / s) layers, s inputs are kept from the forward pass, and while a segment is
    run again one for each of its layers: s + ceil(layers / s) at the peak. Of several best numbers, the smallest.

    Raises ValueError if layers < 1.
    """
    raise NotImplementedError("gradient_checkpointing.best_segments: write me")
