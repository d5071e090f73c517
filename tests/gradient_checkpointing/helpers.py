"""One step of a function, plain and under a checkpoint, and what the two must have in common."""

import torch
from torch import Tensor, nn

from dojo.testing import backward, expect, expect_close, expect_equal, numbers
from dojo.testing.describe import describe
from katas.gradient_checkpointing import checkpoint, checkpoint_sequential

AGAIN = "backward: give the arguments fresh leaves, run the function again with a graph, and go backward through that"
SEED = 5


def tensors(results):
    """The floating-point tensors among the results of a function."""
    results = results if isinstance(results, tuple) else (results,)
    return [x for x in results if isinstance(x, Tensor) and x.is_floating_point()]


def loss_of(results):
    """A loss that weighs every element of every result differently."""
    return sum((x * torch.arange(1, x.numel() + 1).view(x.shape)).sum() for x in tensors(results))


def own(arg):
    """A leaf of its own for a tensor, which wants a gradient if the tensor does; any other argument as it is."""
    return arg.detach().clone().requires_grad_(arg.requires_grad) if isinstance(arg, Tensor) else arg


def expect_result(got, want, what, hint=""):
    """One result of a call: a tensor is compared within rounding, anything else exactly."""
    if isinstance(want, Tensor):
        expect_close(got, want, what=what, hint=hint)
    else:
        expect(type(got) is type(want) and got == want, f"{what} should be {want!r}, but is {describe(got)}", hint=hint)


def expect_results(got, want, what, hint=""):
    """All that a call returned is what the plain call returned: a tensor, or a tuple as long."""
    if not isinstance(want, tuple):
        return expect_result(got, want, what, hint)
    kind = f"a tuple of {len(got)}" if isinstance(got, tuple) else describe(got)
    right = isinstance(got, tuple) and len(got) == len(want)
    expect(right, f"{what} should be a tuple of {len(want)}, but is {kind}", hint=hint)
    for number, (one, other) in enumerate(zip(got, want, strict=True)):
        expect_result(one, other, f"result {number} of {what}", hint)


def expect_gradient(got, want, what, hint=""):
    """The gradient that the plain call gives. Where that gives none, zeros are fine."""
    if want is not None:
        expect_close(got, want, what=what, hint=hint)
    elif got is not None:
        expect_close(got, torch.zeros_like(got), what=what, hint=hint)


def expect_step(plain, other, args, parameters=(), *, what, hint=AGAIN, loss=loss_of):
    """Results and gradients of other(*args) are those of plain(*args), from the same random stream, and so is the stream
    after the step."""
    steps = []
    for function in (plain, other):
        leaves = [own(arg) for arg in args]
        for parameter in parameters:
            parameter.grad = None
        torch.manual_seed(SEED)
        results = function(*leaves)
        if steps:
            expect_results(results, steps[0][0], what, hint)
        with_graph = [x for x in tensors(results) if x.requires_grad]
        sentence = f"{what} should be differentiable, but has no graph"
        expect(with_graph, sentence, hint="parameters want gradients even if no argument does; no detach()")
        loss(results).backward()
        steps.append((results, [leaf.grad if isinstance(leaf, Tensor) else None for leaf in leaves]))
        steps[-1] += ([parameter.grad for parameter in parameters], torch.rand(2))
    for number, (leaf, arg) in enumerate(zip(leaves, args, strict=True)):
        asks = isinstance(leaf, Tensor) and leaf.requires_grad and not arg.requires_grad
        sentence = f"argument {number} of {what} should not require a gradient afterwards, as before, but does"
        expect(not asks, sentence, hint="ask for gradients on a detached copy, not on the caller's tensor")
    (_, args_want, parameters_want, rand_want), (_, args_got, parameters_got, rand_got) = steps
    for number, (got, want) in enumerate(zip(args_got, args_want, strict=True)):
        expect_gradient(got, want, f"the gradient of argument {number} of {what}", hint)
    for number, (got, want) in enumerate(zip(parameters_got, parameters_want, strict=True)):
        expect_gradient(got, want, f"the gradient of parameter {number} of {what}", hint)
    hint = "put the stream back where it stood before the second run"
    expect_equal(rand_got, rand_want, what=f"torch.rand(2) after a step of {what}", hint=hint)


def expect_as_plain(function, *args, parameters=(), what, hint=AGAIN, loss=loss_of):
    """checkpoint(function, *args) gives the results and the gradients of function(*args)."""
    expect_step(
        function,
        lambda *a: checkpoint(function, *a),
        args,
        parameters,
        what=f"checkpoint({what})",
        hint=hint,
        loss=loss,
    )


def expect_sequential(layers, segments, x, *, hint=AGAIN):
    """checkpoint_sequential gives the results and the gradients of the layers one after another."""
    parameters = [p for layer in layers for p in layer.parameters()]
    what = f"checkpoint_sequential of {len(layers)} layers in {segments} segments"
    expect_step(
        lambda x: nn.Sequential(*layers)(x),
        lambda x: checkpoint_sequential(layers, segments, x),
        [x],
        parameters,
        what=what,
        hint=hint,
    )


def tensor(result, what, like=None):
    """`result` if it is a tensor, of the shape of `like` if that is given."""
    expect(isinstance(result, Tensor), f"{what} should be a tensor, but is {describe(result)}")
    if like is not None:
        sentence = f"{what} should have shape {list(like.shape)} and dtype {like.dtype}, but has "
        kind = f"{list(result.shape)} and {result.dtype}"
        expect(result.shape == like.shape and result.dtype == like.dtype, sentence + kind)
    return result


def go_back(result, what):
    """Backward from the sum of a tensor that must have a graph."""
    backward(tensor(result, what).sum(), what=what)


class Runs:
    """Counts the runs of a function, and keeps what `look` gives for the arguments of each."""

    def __init__(self, function, look=lambda *args: None):
        self.function, self.look, self.seen = function, look, []

    def __call__(self, *args):
        self.seen.append(self.look(*args))
        return self.function(*args)

    @property
    def count(self):
        return len(self.seen)


class Layer(nn.Module):
    """tanh(x w), where w has one number for each feature. Notes each run by its number in `order`."""

    def __init__(self, number, order, size=3):
        super().__init__()
        self.number, self.order = number, order
        self.weight = nn.Parameter(numbers(*[0.5 + 0.1 * number] * size))

    def forward(self, x):
        self.order.append(self.number)
        return torch.tanh(x * self.weight)


def stack(count, size=3):
    """(layers, order): so many layers, and the list of the numbers of the layers that have run."""
    order = []
    return [Layer(number, order, size) for number in range(count)], order


def leaf(x):
    return x.requires_grad_()
