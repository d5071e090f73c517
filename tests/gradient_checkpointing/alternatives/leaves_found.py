"""autograd.grad by the arguments and by the parameters, which are found in the graph of the second run."""

import torch
from torch import nn


def accumulators(results):
    """The leaves of a graph."""
    seen, todo, leaves = set(), [r.grad_fn for r in results], []
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            leaves.append(node.variable)
        todo += [following for following, _ in node.next_functions]
    return leaves


class Checkpoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dummy, function, count, *args):
        ctx.save_for_backward(*[a for a in args if torch.is_tensor(a)], torch.get_rng_state())
        ctx.rest = function, [(i, a) for i, a in enumerate(args) if not torch.is_tensor(a)], count
        ctx.autocast = {k: (torch.is_autocast_enabled(k), torch.get_autocast_dtype(k)) for k in ("cpu", "cuda")}
        ctx.set_materialize_grads(False)
        with torch.no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx, *grads):
        *saved, state = ctx.saved_tensors
        function, others, count = ctx.rest
        tensors = iter([x.detach().requires_grad_(x.requires_grad) for x in saved])
        at = dict(others)
        args = [at[i] if i in at else next(tensors) for i in range(count)]
        (cpu, cpu_dtype), (cuda, cuda_dtype) = ctx.autocast["cpu"], ctx.autocast["cuda"]
        with (
            torch.random.fork_rng(),
            torch.enable_grad(),
            torch.autocast("cpu", cpu_dtype, enabled=cpu),
            torch.autocast("cuda", cuda_dtype, enabled=cuda),
        ):
            torch.set_rng_state(state)
            results = function(*args)
        results = results if isinstance(results, tuple) else (results,)
        pairs = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None and r.requires_grad]
        own = [i for i, a in enumerate(args) if torch.is_tensor(a) and a.requires_grad]
        found = [None] * count
        if pairs:
            results, grads = zip(*pairs, strict=True)
            mine = {id(args[i]) for i in own}
            parameters = [p for p in accumulators(results) if id(p) not in mine]
            all_leaves = [args[i] for i in own] + parameters
            # A result that is an argument has no node of its own.
            each = torch.autograd.grad(results, all_leaves, grads, allow_unused=True) if all_leaves else ()
            for i, grad in zip(own, each, strict=False):
                found[i] = grad
            for parameter, grad in zip(parameters, each[len(own) :], strict=True):
                if grad is not None:
                    parameter.grad = grad if parameter.grad is None else parameter.grad + grad
        return None, None, None, *found


def checkpoint(function, *args):
    return Checkpoint.apply(torch.ones(1).requires_grad_(), function, len(args), *args)


def checkpoint_sequential(layers, segments, x):
    n = len(layers)
    if not 0 < segments <= n:
        raise ValueError("segments")
    whole, rest = divmod(n, segments)
    end = 0
    for segment in range(segments):
        start, end = end, end + whole + (segment < rest)
        x = checkpoint(nn.Sequential(*(layers[i] for i in range(start, end))), x)
    return x


def best_segments(layers):
    if layers < 1:
        raise ValueError("layers")
    return sorted((s + (layers - 1) // s + 1, s) for s in range(1, layers + 1))[0][1]
