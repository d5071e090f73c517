"""Stage 1. One tensor in, one out; the parameters; segments."""

import pytest
import torch
from torch import nn

from dojo.testing import backward, expect_close, expect_equal, expect_own_work, expect_unchanged, numbers, randn
from katas import gradient_checkpointing as kata
from katas.gradient_checkpointing import best_segments, checkpoint, checkpoint_sequential

from .helpers import AGAIN, Runs, expect_as_plain, expect_sequential, go_back, leaf, stack, tensor
from .probe import FORBIDDEN

LEAF = "the inner backward pass must end in leaves of its own: detach() the arguments, and ask for gradients again"


def cube(x):
    return x * x * x


def test_a_cube_and_its_slope():
    """x^3 at 2: the value is 8 and the slope 12. At the upstream gradient 10 it is 120."""
    x = leaf(numbers(2, -1))
    y = checkpoint(cube, x)
    expect_close(y, numbers(8, -1), what="checkpoint(cube, [2, -1])", hint="the result is function(*args)")
    backward((y * numbers(1, 10)).sum(), what="checkpoint(cube, x)")
    hint = f"{AGAIN}, from the gradient that arrives"
    expect_close(x.grad, numbers(12, 30), what="the gradient of x for the loss [1, 10] * x^3 at [2, -1]", hint=hint)


def test_checkpointing_is_your_own():
    """torch has it ready-made; the question is what happens inside."""
    tensor(checkpoint(cube, numbers(1)), "checkpoint(cube, [1])")
    expect_own_work(kata, FORBIDDEN)


def test_the_function_runs_once_in_each_pass():
    """Once forward, with nothing kept; once backward. A function that is never asked for gradients runs once."""
    runs = Runs(cube)
    y = checkpoint(runs, leaf(numbers(2, 3)))
    expect_equal(runs.count, 1, what="the number of runs of function in the forward pass", hint="run it once")
    go_back(y, "checkpoint(cube, x)")
    hint = "nothing but the arguments is kept, so the function has to run again, once"
    expect_equal(runs.count, 2, what="the number of runs of function after forward and backward", hint=hint)


def test_a_layer_gets_the_gradients_of_the_plain_call(rng):
    """Of its input, its weight and its bias: an inner autograd.grad by the inputs alone misses the last two."""
    layer = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    hint = f"{AGAIN}; the function's parameters are leaves of that graph, too"
    expect_as_plain(layer, leaf(randn(rng, 5, 3)), parameters=[*layer.parameters()], what="layer, x", hint=hint)


def test_gradients_go_on_through_the_graph_around(rng):
    """Something before, two checkpoints in a row, something behind, and a path around them."""
    w, x = leaf(randn(rng, 3)), leaf(randn(rng, 2, 3))

    def block(x):
        return torch.tanh(x) * w

    def model(call):
        def run(x):
            x = 2 * x.sin()
            return (x + call(block, call(block, x))).exp()

        return run

    plain, checkpointed = (model(call) for call in (lambda function, x: function(x), checkpoint))
    gradients = []
    for run in (plain, checkpointed):
        x.grad = w.grad = None
        y = tensor(run(x), "a model with two checkpoints")
        backward(y.sum(), what="a model with two checkpoints")
        gradients.append((y, x.grad, w.grad))
    for name, want, got in zip(("result", "gradient of x", "gradient of w"), *gradients, strict=True):
        expect_close(got, want, what=f"the {name} of a model with two checkpoints", hint=LEAF)


def test_gradients_add_up_once(rng):
    """.grad of x and of a parameter gets the gradient of this step on top of what is there, and only once."""
    w, x = leaf(numbers(3)), leaf(numbers(2))
    for step in (1, 2):
        go_back(checkpoint(lambda x: x * x * w, x), "checkpoint(x^2 w)")
        what = f"after {step} step{'s' * (step > 1)} of x^2 w at x=2, w=3"
        expect_close(x.grad, step * numbers(12), what=f"x.grad {what}", hint=LEAF)
        expect_close(w.grad, step * numbers(4), what=f"w.grad {what}", hint="one backward pass through the second run")


def test_the_argument_keeps_its_numbers(rng):
    """The caller may need it again, and the second run does."""
    x = leaf(randn(rng, 3))
    with expect_unchanged(x, what="the argument"):
        go_back(checkpoint(lambda x: (x * x).tanh(), x), "checkpoint((x * x).tanh(), x)")


@pytest.mark.parametrize("segments", [1, 2, 4])
def test_layers_in_segments_are_the_layers(rng, segments):
    """Same result, same gradients, in 1, 2 or 4 segments of four layers."""
    layers, _ = stack(4)
    expect_sequential(layers, segments, leaf(randn(rng, 2, 3)), hint="each segment runs its own layers, both times")


def test_every_layer_runs_twice(rng):
    """Once forward, once backward, with the last segment first, because its gradients are needed first."""
    layers, order = stack(6)
    y = checkpoint_sequential(layers, 2, leaf(randn(rng, 2, 3)))
    expect_equal(order, [0, 1, 2, 3, 4, 5], what="the layers that run forward, 6 in 2 segments")
    go_back(y, "checkpoint_sequential")
    hint = "a segment is a checkpoint around its layers, and the last segment is one, too"
    expect_equal(order[6:], [3, 4, 5, 0, 1, 2], what="the layers that run backward, 6 in 2 segments", hint=hint)


def test_the_best_number_of_segments():
    """s + ceil(layers / s): about sqrt(layers), but for 10 layers 2 + 5 is as good as 3 + 4, and 2 is smaller."""
    for layers, want in ((1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (9, 3), (10, 2), (16, 4), (17, 3), (24, 4), (100, 10)):
        hint = "try every number: s + ceil(layers / s), and the smallest where several are best"
        expect_equal(best_segments(layers), want, what=f"best_segments({layers})", hint=hint)
