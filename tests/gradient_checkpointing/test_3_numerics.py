"""Stage 3. Dropout, autocast, every dtype, checkpoints in checkpoints."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import FLOATS, backward, called_for, expect, expect_close, expect_equal, randn
from katas.gradient_checkpointing import checkpoint, checkpoint_sequential

from .helpers import Runs, expect_as_plain, expect_sequential, go_back, leaf, stack, tensor

STREAM = "before the first run, remember the state of the random stream; set it for the second run"
BACK = "after the second run, put the stream back where it stood before it"
AUTOCAST = "before the first run, remember whether autocast is on and its dtype, and run again under the same"
BFLOAT16, FLOAT16, FLOAT32 = torch.bfloat16, torch.float16, torch.float32


def drop(x):
    return F.dropout(x.exp(), 0.5)


def test_the_second_run_drops_what_the_first_dropped(rng):
    """y = dropout(exp(x)) has the slope y: where y is 0, the gradient is 0. Other numbers are drawn before it and in between."""
    x = leaf(randn(rng, 64))
    torch.rand(3)
    y = tensor(checkpoint(drop, x), "checkpoint(dropout(exp(x)), x)", x)
    torch.rand(3)
    go_back(y, "checkpoint(dropout(exp(x)), x)")
    expect_close(x.grad, y, what="the gradient of dropout(exp(x)), which is its value", hint=STREAM)


def test_dropout_is_that_of_the_plain_call(rng):
    """The first run draws from the stream where it stands, and the step leaves it where a plain step does."""
    expect_as_plain(drop, leaf(randn(rng, 64)), what="dropout(exp(x)), x", hint=f"{STREAM}. Seed nothing. {BACK}")


def test_the_stream_goes_on_after_each_pass(rng):
    """The forward pass draws, the backward pass does not: another seed for every step, and no number twice."""
    x = leaf(randn(rng, 64))
    torch.manual_seed(3)
    drop(x)
    want = torch.rand(3)
    torch.manual_seed(3)
    y = checkpoint(drop, x)
    hint = "the first run draws like a plain call: put nothing back after it"
    expect_equal(torch.rand(3), want, what="torch.rand(3) after the forward pass", hint=hint)
    torch.manual_seed(4)
    want = torch.rand(3)
    torch.manual_seed(4)
    go_back(y, "checkpoint(dropout(exp(x)), x)")
    expect_equal(torch.rand(3), want, what="torch.rand(3) after the backward pass", hint=BACK)


def test_checkpoints_with_dropout_in_a_row(rng):
    """Each has a state of its own, and backward they come in the other order."""

    class Drop(nn.Module):
        def forward(self, x):
            return drop(x) * 0.1

    layers = [layer for pair in zip(stack(3)[0], [Drop() for _ in range(3)], strict=True) for layer in pair]
    for segments in (1, 3, 6):
        expect_sequential(layers, segments, leaf(randn(rng, 16, 3)), hint=STREAM)


def test_graph_mode_is_as_before(rng):
    """Gradients are on during the second run, and after both passes."""
    runs = Runs(torch.sin, lambda x: torch.is_grad_enabled())
    go_back(checkpoint(runs, leaf(randn(rng, 3))), "checkpoint(torch.sin, x)")
    expect_equal(runs.seen[1:], [True], what="whether gradients are on, in the second run", hint="torch.enable_grad()")
    expect_equal(torch.is_grad_enabled(), True, what="whether gradients are on after the step")


def product_of(w):
    """A function of x, and the dtypes of x w in its runs."""
    runs = Runs(lambda x: (x @ w).float().tanh(), lambda x: (x @ w).dtype)
    return runs


@pytest.mark.parametrize("dtype", [BFLOAT16, FLOAT16], ids=str)
def test_the_second_run_is_under_the_autocast_of_the_first(rng, dtype):
    """loss.backward() is called outside autocast, as it should be, and the second run multiplies in bfloat16 all the same."""
    x, w = (leaf(randn(rng, 4, 4, dtype=FLOAT32)) for _ in range(2))
    runs = product_of(w)
    with torch.autocast("cpu", dtype), called_for(f"torch.autocast('cpu', {dtype})", hint=AUTOCAST):
        y = checkpoint(runs, x)
    go_back(y, "checkpoint under autocast")
    expect_equal(
        runs.seen, [dtype, dtype], what=f"the dtypes of x w in both runs, forward under {dtype}", hint=AUTOCAST
    )

    def function(x):
        with torch.autocast("cpu", dtype):
            return (x @ w).float().tanh()

    expect_as_plain(function, x, parameters=[w], what=f"autocast to {dtype} inside", hint=AUTOCAST)


def test_autocast_at_backward_is_not_that_of_the_second_run(rng):
    """Off in the forward pass and on in the backward pass; on, and off around the checkpoint; another dtype."""
    x, w = (leaf(randn(rng, 4, 4, dtype=FLOAT32)) for _ in range(2))
    for forward, behind in (((False, BFLOAT16), (True, BFLOAT16)), ((True, FLOAT16), (True, BFLOAT16))):
        runs = product_of(w)
        with torch.autocast("cpu", forward[1], enabled=forward[0]):
            y = checkpoint(runs, x)
        with torch.autocast("cpu", behind[1], enabled=behind[0]):
            go_back(y, "checkpoint under autocast")
        want = 2 * [forward[1] if forward[0] else FLOAT32]
        what = f"the dtypes of x w in both runs, forward under {want[0]}, backward under autocast to {behind[1]}"
        expect_equal(runs.seen, want, what=what, hint=AUTOCAST)


def test_gradients_under_autocast_are_those_of_the_plain_call(rng):
    """A weight that serves inside a checkpoint and outside, forward and backward in one autocast block. Tolerance: its two
    gradients may be added in bfloat16 or after a cast to float32."""
    x, w = (leaf(randn(rng, 4, 4, dtype=FLOAT32)) for _ in range(2))
    gradients = []
    for call in (lambda function, x: function(x), checkpoint):
        x.grad = w.grad = None
        with torch.autocast("cpu", BFLOAT16):
            y = tensor(call(lambda x: torch.tanh(x @ w), x), "checkpoint under autocast", x.bfloat16()) @ w
            backward(y.float().sum(), what="a product behind a checkpoint")
        gradients.append((x.grad, w.grad))
    for name, want, got in zip("xw", *gradients, strict=True):
        expect_close(
            got,
            want,
            what=f"the gradient of {name}, all under autocast to bfloat16",
            hint=AUTOCAST,
            rtol=0.03,
            atol=0.03,
        )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_dtype_is_kept(rng, dtype):
    """Results and gradients have the dtype and the numbers of the plain call, from 1e-3 to numbers near its limits."""
    w = leaf(randn(rng, 4, dtype=dtype))
    for scale in (1e-3, 1.0, 1e4):
        x = leaf(scale * randn(rng, 3, 4).to(dtype))

        def function(x, scale=scale):
            return torch.tanh(x / scale) * w + F.dropout(x, 0.25)

        def loss(results):
            return (results * 2).sum()

        expect_as_plain(
            function, x, parameters=[w], what=f"{dtype} of size {scale:g}", hint="convert nothing", loss=loss
        )


def test_a_result_in_another_dtype_than_the_argument(rng):
    """Half-precision weights beside float32 statistics: each gradient has the dtype of its tensor."""
    x, w = leaf(randn(rng, 4, dtype=FLOAT16)), leaf(randn(rng, 4, dtype=torch.float64))
    expect_as_plain(lambda x: (x.float().exp(), x * 2), x, what="(x.float().exp(), 2 x), x in float16")
    expect_as_plain(lambda x: (x.double() * w).sin(), x, parameters=[w], what="(x.double() w).sin(), x in float16")


def test_complex_arguments_and_parameters(rng):
    """An argument of any dtype that requires a gradient gets one."""
    x, w = (leaf(torch.complex(randn(rng, 4), randn(rng, 4))) for _ in range(2))
    hint = "integers and booleans get no gradient; is_floating_point() is False for complex numbers, too"
    expect_as_plain(lambda x: (x * w).abs(), x, parameters=[w], what="|x w| of complex x and w", hint=hint)


def test_checkpoints_in_checkpoints(rng):
    """Three levels, with dropout and parameters in each: the second run of the outer one is a first run of the inner."""
    w = [leaf(randn(rng, 3)) for _ in range(3)]

    def nest(call):
        def inner(x):
            return F.dropout(torch.tanh(x * w[2]), 0.25)

        def middle(x):
            return F.dropout(call(inner, x * w[1]), 0.25).exp()

        def outer(x):
            return call(middle, F.dropout(x, 0.25) * w[0]).sin()

        return outer

    gradients, x = [], leaf(randn(rng, 16, 3))
    for call in (lambda function, x: function(x), checkpoint):
        for leaf_ in (x, *w):
            leaf_.grad = None
        torch.manual_seed(7)
        y = tensor(call(nest(call), x), "nested checkpoints", x)
        backward(y.sum(), what="nested checkpoints")
        gradients.append([y, x.grad, *(each.grad for each in w), torch.rand(1)])
    names = (
        "the result",
        "the gradient of x",
        *(f"the gradient of w{i}" for i in range(3)),
        "torch.rand(1) after a step",
    )
    for name, want, got in zip(names, *gradients, strict=True):
        expect_close(got, want, what=f"{name} of nested checkpoints with dropout", hint=f"{STREAM}. {BACK}")


def test_training_is_training_without_checkpoints(rng):
    """Five steps of SGD with dropout: the same losses, step by step, as one stream of numbers serves all steps."""
    x, losses = randn(rng, 8, 3), []
    start = [randn(rng, 3, 3) for _ in range(4)]
    for segments in (None, 2):
        layers = [nn.Sequential(nn.Linear(3, 3, bias=False), nn.Tanh(), nn.Dropout(0.2)).double() for _ in start]
        for layer, weight in zip(layers, start, strict=True):
            layer[0].weight.data.copy_(weight)
        weights = [layer[0].weight for layer in layers]
        torch.manual_seed(9)
        losses.append([])
        for _ in range(5):
            y = nn.Sequential(*layers)(x) if segments is None else checkpoint_sequential(layers, segments, x)
            loss = tensor(y, "checkpoint_sequential", x).pow(2).mean()
            backward(loss, what="checkpoint_sequential")
            for weight in weights:
                weight.data -= 0.5 * weight.grad
                weight.grad = None
            losses[-1].append(loss.detach())
    expect(losses[0][0] != losses[0][4], "the loss should move")
    expect_close(
        torch.stack(losses[1]), torch.stack(losses[0]), what="the losses of five steps with dropout", hint=STREAM
    )
