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

# kata: begin


class _Checkpoint(torch.autograd.Function):
    """function(*args) without a graph; the backward pass runs it again with one."""

    @staticmethod
    def forward(ctx: Any, function: Callable[..., Any], _: Tensor, *args: Any) -> Any:
        ctx.set_materialize_grads(False)  # an output that the loss doesn't use has the gradient None, not zeros
        ctx.function = function
        ctx.save_for_backward(*(arg if isinstance(arg, Tensor) else None for arg in args))
        ctx.others = [None if isinstance(arg, Tensor) else arg for arg in args]
        ctx.random = torch.get_rng_state(), torch.cuda.get_rng_state_all()
        ctx.autocasts = [
            torch.autocast(kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind))
            for kind in ("cpu", "cuda")
        ]
        return function(*args)  # autograd records nothing inside a Function

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        # Leaves of their own, where the inner backward pass ends and leaves their gradients.
        leaves = [x if x is None else x.detach().requires_grad_(x.requires_grad) for x in ctx.saved_tensors]
        args = [other if leaf is None else leaf for leaf, other in zip(leaves, ctx.others, strict=True)]
        on_cpu, on_cuda = ctx.autocasts
        with torch.enable_grad(), torch.random.fork_rng(range(torch.cuda.device_count())), on_cpu, on_cuda:
            torch.set_rng_state(ctx.random[0])
            torch.cuda.set_rng_state_all(ctx.random[1])
            outputs = ctx.function(*args)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        used = [(out, grad) for out, grad in zip(outputs, grads, strict=True) if grad is not None and out.requires_grad]
        # Not autograd.grad by the arguments: only backward reaches the parameters as well.
        torch.autograd.backward([out for out, _ in used], [grad for _, grad in used])
        return None, None, *(None if leaf is None else leaf.grad for leaf in leaves)


# kata: end


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
    # kata: begin
    # apply records a graph only if a tensor that it is given requires a gradient, and parameters are not given to it.
    return _Checkpoint.apply(function, torch.empty(0, requires_grad=True), *args)
    # kata: end


def checkpoint_sequential(layers: Sequence[nn.Module], segments: int, x: Tensor) -> Tensor:
    """layers[-1](...layers[1](layers[0](x))), in at most `segments` runs of consecutive layers, each under a checkpoint.

    No run is longer than ceil(len(layers) / segments) layers, and the last one is under a checkpoint, too. Between the
    passes nothing but the runs' inputs is kept; in the backward pass, beside them only what one run computes.

    Raises ValueError unless 1 <= segments <= len(layers), before any layer runs.
    """
    # kata: begin
    if not 1 <= segments <= len(layers):
        raise ValueError(f"segments must be between 1 and {len(layers)} layers, got {segments}")
    size = math.ceil(len(layers) / segments)
    result: Any = x
    for start in range(0, len(layers), size):
        result = checkpoint(nn.Sequential(*layers[start : start + size]), result)
    return result
    # kata: end


def best_segments(layers: int) -> int:
    """The number of segments for which a training step of `layers` equal layers keeps fewest layer inputs at its peak.

    With s segments of at most ceil(layers / s) layers, s inputs are kept from the forward pass, and while a segment is
    run again one for each of its layers: s + ceil(layers / s) at the peak. Of several best numbers, the smallest.

    Raises ValueError if layers < 1.
    """
    # kata: begin
    if layers < 1:
        raise ValueError(f"layers must be at least 1, got {layers}")
    return min(range(1, layers + 1), key=lambda segments: segments + math.ceil(layers / segments))
    # kata: end
