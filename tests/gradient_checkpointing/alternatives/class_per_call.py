"""A Function for each call, which closes over the arguments: only the tensors that want a gradient are given to apply."""

import torch
from torch import Tensor, nn


def checkpoint(function, *args):
    if not torch.is_grad_enabled():
        return function(*args)
    wanting = [i for i, arg in enumerate(args) if isinstance(arg, Tensor) and arg.requires_grad]
    dtypes = {kind: torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda")}
    enabled = {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}
    state = torch.random.get_rng_state()

    class Again(torch.autograd.Function):
        @staticmethod
        def forward(ctx, dummy, *wanted):
            ctx.set_materialize_grads(False)
            return function(*args)

        @staticmethod
        def backward(ctx, *grads):
            given = [arg.detach() if isinstance(arg, Tensor) else arg for arg in args]
            for i in wanting:
                given[i].requires_grad = True
            now = torch.random.get_rng_state()
            torch.random.set_rng_state(state)
            with (
                torch.set_grad_enabled(True),
                torch.autocast("cpu", dtypes["cpu"], enabled["cpu"]),
                torch.autocast("cuda", dtypes["cuda"], enabled["cuda"]),
            ):
                results = function(*given)
            torch.random.set_rng_state(now)
            results = [results] if isinstance(results, Tensor) else results
            for_backward, from_outside = [], []
            for result, grad in zip(results, grads, strict=True):
                if isinstance(result, Tensor) and result.requires_grad and grad is not None:
                    for_backward.append(result)
                    from_outside.append(grad)
            torch.autograd.backward(for_backward, from_outside)
            return None, *[given[i].grad for i in wanting]

    return Again.apply(torch.zeros((), requires_grad=True), *[args[i] for i in wanting])


def checkpoint_sequential(layers, segments, x):
    if segments < 1 or segments > len(layers):
        raise ValueError("segments")
    remaining = list(layers)
    for left in range(segments, 0, -1):
        size = -(-len(remaining) // left)
        now, remaining = remaining[:size], remaining[size:]
        x = checkpoint(nn.Sequential(*now), x)
    return x


def best_segments(layers):
    if layers < 1:
        raise ValueError("layers")
    best, least = None, None
    for segments in range(1, layers + 1):
        whole, rest = divmod(layers, segments)
        peak = segments + whole + (rest > 0)
        if least is None or peak < least:
            best, least = segments, peak
    return best
