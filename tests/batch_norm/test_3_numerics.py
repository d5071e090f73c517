"""Stage 3. Gradients of the layer, every floating dtype, large and small numbers, large means."""

import pytest
import torch
from torch.func import functional_call

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    numbers,
    randn,
    roundings,
)

from .helpers import BUFFERS, buffers, column, eighths, layer_of, random_layer

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
MODES = pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
WIDE = "mean, variance and products in float32 at least (float64 stays float64), and convert back at the end"
CENTRE = "subtract the mean first, then square: the variance is mean((x - mean)^2)"


@MODES
@pytest.mark.parametrize("shape", [(4, 2), (2, 2, 2)], ids=str)
def test_gradients_flow_to_x_weight_and_bias(rng, shape, training):
    """In training mode mean and variance are functions of x, and belong to the graph; in evaluation they are constants."""
    layer = random_layer(rng, 2).train(training)

    def run(x, weight, bias):
        return functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    inputs = [randn(rng, *shape), randn(rng, 2), randn(rng, 2)]
    what = f"layer(x) in {'training' if training else 'evaluation'} mode"
    expect_gradients(run, inputs, what=what, hint="no detach() and no no_grad() but for the update of the buffers")


def test_the_buffers_carry_no_graph(rng):
    """With one, every batch of the training so far would stay alive, and a second backward() fails."""
    layer, x = random_layer(rng, 3), randn(rng, 4, 3).requires_grad_()
    losses = [layer(x).square().sum() for _ in range(2)]
    for name in BUFFERS:
        graph = getattr(layer, name).requires_grad
        sentence = f"{name} should carry no graph after a batch in training mode, but requires grad"
        expect(not graph, sentence, hint="detach the batch's statistics, or update under torch.no_grad()")
    for loss in losses:
        backward(loss, what="layer(x)")


def test_the_update_does_not_disturb_the_graphs_of_other_batches(rng):
    """Two batches and an evaluation, then all their gradients: an update in place must not meet what a graph has saved."""
    layer = random_layer(rng, 3)
    xs = [randn(rng, 4, 3).requires_grad_() for _ in range(3)]
    loss = sum((layer.train(i != 1)(x) * numbers(1, 2, 3)).square().sum() for i, x in enumerate(xs))
    try:
        backward(loss, what="layer(x)")
    except RuntimeError as error:
        sentence = f"the backward pass over a batch in training, one in evaluation and one in training failed: {error}"
        expect(False, sentence, hint="a buffer that changes in place must not be saved by a graph")
    for x in xs:
        expect(x.grad is not None, "each batch should get a gradient, but one has none", hint="no detach()")


@EVERY
@MODES
@pytest.mark.parametrize("own", [False, True], ids=["float32 layer", "layer like x"])
def test_every_floating_dtype_works(rng, dtype, training, own):
    """The result has the dtype of x, also beside float32 parameters, as autocast has it. The buffers keep theirs. Inputs
    are multiples of 1/8, exact in every dtype. Tolerance: 4 roundings of the largest number."""
    if dtype == torch.float64 and not own:
        own = True
    x, exact = eighths(rng, 5, 3, 2), random_layer(rng, 3).train(training)
    layer = layer_of(3, dtype=dtype if own else torch.float32).train(training)
    layer.load_state_dict(exact.state_dict())
    kept = dtype if own else torch.float32
    got, want = layer(x.to(dtype)), exact(x).detach()
    place = f"{'training' if training else 'evaluation'}, x in {dtype}, layer in {kept}"
    expect_equal(got.dtype, dtype, what=f"the dtype of the result ({place})", hint="convert to x.dtype at the end")
    expect_close(got.double(), want, what=f"the result ({place})", hint=WIDE, **roundings(4, dtype, want))
    for name, buffer, wanted in zip(BUFFERS, buffers(layer), buffers(exact), strict=True):
        expect_equal(buffer.dtype, kept, what=f"the dtype of {name} ({place})", hint="buffers keep their dtype")
        expect_close(buffer.double(), wanted, what=f"{name} ({place})", hint=WIDE, **roundings(4, kept, wanted))
    dtype_of_count = layer.num_batches_tracked.dtype
    expect_equal(
        dtype_of_count, torch.int64, what="the dtype of num_batches_tracked", hint="an integer counts for ever"
    )


@EVERY
@pytest.mark.parametrize("scale", [2.0**12, 2.0**-13], ids=["large", "small"])
def test_large_and_small_numbers_are_as_good_as_others(rng, dtype, scale):
    """In float16 the square of 300 is infinite, and that of 1e-4 is 0. With eps = 0 a power of two in front of x changes
    the result not at all, and the running variance by its square. Tolerance: 4 roundings of the
    result in half precision, 16 of all that is not rounded to it."""
    x, kept = eighths(rng, 4, 3, 2), torch.promote_types(dtype, torch.float32)
    layer, exact = layer_of(3, 0.0, 1.0, dtype=kept), layer_of(3, 0.0, 1.0)
    got, want = layer((scale * x).to(dtype)).double(), exact(x).detach()
    what = f"training on {scale:g} * x in {dtype} with eps=0, beside float64"
    expect_close(got, want, what=what, hint=WIDE, **roundings(4 if dtype in HALVES else 16, dtype, want))
    for name, power, buffer, wanted in zip(BUFFERS, (1, 2), buffers(layer), buffers(exact), strict=True):
        what = f"{name} / {scale:g}^{power} after {scale:g} * x in {dtype}, momentum=1"
        expect_close(buffer.double() / scale**power, wanted, what=what, hint=WIDE, **roundings(16, kept, wanted))
    again, wanted = layer.eval()((scale * x).to(dtype)).double(), exact.eval()(x).detach()
    what = f"evaluation of {scale:g} * x in {dtype} with eps=0, beside float64"
    expect_close(again, wanted, what=what, hint=WIDE, **roundings(4 if dtype in HALVES else 16, dtype, wanted))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_running_statistics_are_not_rounded_to_half_precision(dtype):
    """[1, 1, 1, 2] times 2^k: the mean 1.25 and the variance 0.25 fit; so 7 values [1, 0, ...] show it: 1/7 is 0.142857
    in float32, and rounded in bfloat16 0.142578."""
    layer = layer_of(1, momentum=1.0, dtype=torch.float32)
    layer(column(1, 0, 0, 0, 0, 0, 0).to(dtype))
    for name, got in zip(BUFFERS, buffers(layer), strict=True):
        want = numbers(1 / 7, dtype=torch.float32)
        expect_close(got, want, what=f"{name} (float32) after [1, 0, 0, 0, 0, 0, 0] in {dtype}", hint=WIDE)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_evaluation_subtracts_in_float32(dtype):
    """running_mean = 1 + 2^-12 in float32, x = 1 and 2, eps = 0, running_var = 2^-24: the first row is -1."""
    values = {"running_mean": 1 + 2.0**-12, "running_var": 2.0**-24}
    layer = layer_of(1, 0.0, dtype=torch.float32, **values).eval()
    got = layer(column(1, 2).to(dtype))
    want = column(-1, 4095).to(dtype)
    what = f"evaluation of [1, 2] in {dtype}, running_mean 1 + 2^-12, running_var 2^-24, eps=0"
    expect_close(got, want, what=what, hint="widen x before the running mean is subtracted")


def test_float64_keeps_its_digits(rng):
    """The mean of a channel of the result is the bias, and running_mean that of x: to 16 roundings of float64."""
    x, layer = randn(rng, 6, 3) + 1, random_layer(rng, 3, momentum=1.0)
    got, limits = layer(x).detach().mean(0), roundings(16, torch.float64, 4.0)
    hint = "float64 stays float64: widen to torch.promote_types(x.dtype, torch.float32)"
    expect_close(got, layer.bias, what="the mean of each channel of the result in float64", hint=hint, **limits)
    expect_close(layer.running_mean, x.mean(0), what="running_mean in float64, momentum=1", hint=hint, **limits)


def test_a_small_eps_does_not_vanish():
    """2^-30 is 0 in float16. A channel without variance, in a layer of float16: 2^-15 / sqrt(2^-30) = 1."""
    layer = layer_of(1, 2.0**-30, dtype=torch.float16, running_mean=0.0, running_var=0.0).eval()
    got = layer(2.0**-15 * column(1, -1).half())
    what = "evaluation of +-2^-15 in float16, running_var 0, eps 2^-30"
    expect_close(got, column(1, -1).half(), what=what, hint="widen running_var before eps is added")


def test_a_large_mean_does_not_hide_the_variance(rng):
    """16384 and deviations of a few units: mean(x^2) - mean(x)^2 is a difference of numbers around 2.7e8, between which
    float32 has steps of 32. Tolerance: 4 roundings of 16384 against 5, in case a mean is not exact."""
    offsets = numbers(-7, -3, 3, 7, -1, 1)[torch.randperm(6, generator=rng)]
    want = offsets / offsets.square().mean().sqrt()
    layer = layer_of(1, 0.0, 1.0, dtype=torch.float32)
    got = layer((16384 + offsets).float()[:, None]).double()[:, 0]
    atol = roundings(4, torch.float32, 16384 / 5)["atol"]
    expect_close(got, want, what="a channel around 16384 in float32", hint=CENTRE, rtol=0.0, atol=atol)
    want = offsets.var()[None].float()
    expect_close(layer.running_var, want, what="its running_var with momentum=1", hint=CENTRE, rtol=1e-4, atol=0.0)


def test_a_mean_a_thousand_times_the_deviation(rng):
    """Images with pixels around 1e3 and a deviation of 0.1: E[x^2] - E[x]^2 in float32 would give variances of 0 or 0.1.
    Tolerance: 8 roundings of 1e4, the mean in units of the deviation."""
    x = (1e3 + 0.1 * randn(rng, 3, 2, 4, 5)).float()
    layer, exact = layer_of(2, 0.0, 1.0, dtype=torch.float32), layer_of(2, 0.0, 1.0)
    got, want = layer(x).double(), exact(x.double())
    what = "training on pixels around 1e3 with deviation 0.1 in float32, beside float64"
    expect_close(got, want, what=what, hint=CENTRE, rtol=0.0, atol=roundings(8, torch.float32, 1e4)["atol"])
    got = layer.running_var.double()
    expect_close(got, exact.running_var, what="its running_var", hint=CENTRE, rtol=5e-3, atol=0.0)
