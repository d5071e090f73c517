"""Stage 4. The backward pass by hand; no loop, few passes over x, and a small graph."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    expect,
    expect_close,
    expect_equal,
    expect_flat_operators,
    expect_traffic,
    expect_unchanged,
    numbers,
    randn,
    roundings,
)
from dojo.testing.alive import Alive
from katas.batch_norm import batch_norm_backward

from .helpers import EPS, NAMES, column, eighths, gradients, layer_of, shown

FORMULA = "x moves its own y, the mean, and the variance: three paths, written as a sum"
SHAPES = [(4, 2), (3, 3), (2, 2, 3), (2, 2, 1, 2)]


def test_gradients_of_a_worked_example():
    """The column [1, -1, 1, -1] with eps = 0 has mean 0 and variance 1. The gradient [8, 4, 0, 0] has the mean 3 and the
    part 1 along x: without both it is [4, 2, -4, -2], and the weight multiplies it."""
    got = gradients(column(8, 4, 0, 0), column(1, -1, 1, -1), numbers(3), 0.0)
    what = "of batch_norm_backward([8, 4, 0, 0], x=[1, -1, 1, -1], weight=3, eps=0)"
    expect_close(got["grad_x"], column(12, 6, -12, -6), what=f"grad_x {what}", hint=FORMULA)
    hint = "the sum of grad times the normalised x"
    expect_close(got["grad_weight"], numbers(4), what=f"grad_weight {what}", hint=hint)
    expect_close(got["grad_bias"], numbers(12), what=f"grad_bias {what}", hint="the sum of grad")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradients_are_the_slopes_of_the_layer(rng, shape):
    """Central differences of your own layer in training mode, along each number of x, weight and bias: off by 1e-8."""
    grad, x, vectors = randn(rng, *shape), randn(rng, *shape) + 0.5, [randn(rng, shape[1]) for _ in range(2)]
    with expect_unchanged(grad, x, vectors[0], what="an argument"):
        got = gradients(grad, x, vectors[0], EPS)

    @torch.no_grad()
    def loss(x, weight, bias):
        return (layer_of(shape[1], weight=weight, bias=bias)(x) * grad).sum()

    for place, result in enumerate(got.values()):
        inputs = [x, *vectors]
        want = torch.zeros(inputs[place].numel()).double()
        for index in range(len(want)):
            step = torch.zeros_like(want).index_fill(0, torch.tensor(index), 1e-5).view_as(inputs[place])
            ahead, behind = (loss(*inputs[:place], inputs[place] + s * step, *inputs[place + 1 :]) for s in (1, -1))
            want[index] = (ahead - behind) / 2e-5
        what = f"{NAMES[place]} of batch_norm_backward for {shown(x)}, against the slope of your layer,"
        expect_close(result, want.view_as(inputs[place]), what=what, hint=FORMULA, rtol=1e-6, atol=1e-7)


def test_no_gradient_points_along_what_the_norm_takes_out(rng):
    """A shift of a channel changes nothing, so grad_x adds up to 0 in each channel, whatever eps is. With eps = 0 its scale
    changes nothing either: grad_x . x = 0. Both to the digits of float64."""
    grad, x, weight = randn(rng, 3, 4, 2, 2), 3 * randn(rng, 3, 4, 2, 2) + 1, randn(rng, 4)
    zeros, limits = torch.zeros(4).double(), {"rtol": 0.0, "atol": 1e-11}
    hint = "take out the mean of grad, and its part along the normalised x; float64 stays float64"
    for eps in (EPS, 0.0):
        total = gradients(grad, x, weight, eps)["grad_x"].sum((0, 2, 3))
        expect_close(total, zeros, what=f"the sum of grad_x in each channel, eps={eps}", hint=hint, **limits)
    along = (gradients(grad, x, weight, 0.0)["grad_x"] * x).sum((0, 2, 3))
    expect_close(along, zeros, what="grad_x . x in each channel, eps=0", hint=hint, **limits)


def test_gradients_of_channels_and_of_layouts(rng):
    """Channels do not see each other, and another memory layout of grad and x changes nothing."""
    grad, x, weight = randn(rng, 3, 3, 2, 4), randn(rng, 3, 3, 2, 4), randn(rng, 3)
    whole = gradients(grad, x, weight, EPS)
    parts = [gradients(grad[:, c : c + 1], x[:, c : c + 1], weight[c : c + 1], EPS) for c in range(3)]
    for name, result in whole.items():
        want = torch.cat([part[name] for part in parts], int(name == "grad_x"))
        expect_close(
            result, want, what=f"{name}, against its channels alone", hint="sums over all dimensions but dim 1"
        )
    turned = [t.movedim(1, -1).contiguous().movedim(-1, 1) for t in (grad, x)]
    for name, result in gradients(*turned, weight, EPS).items():
        expect_close(result, whole[name], what=f"{name} in another memory layout", hint="no view of x or grad")


def test_the_default_eps_of_the_backward_pass(rng):
    """1e-5, as in the layer: small numbers show it."""
    grad, x, weight = randn(rng, 4, 3), 2e-3 * randn(rng, 4, 3), randn(rng, 3)
    want = gradients(grad, x, weight, 1e-5)
    for name, result in gradients(grad, x, weight).items():
        expect_close(result, want[name], what=f"{name} with the default eps", hint="eps=1e-5")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**11, 2.0**-13], ids=["around 1", "large", "small"])
@pytest.mark.parametrize("own", [False, True], ids=["float32 weight", "weight like x"])
def test_the_backward_pass_works_in_every_floating_dtype(rng, dtype, scale, own):
    """grad_x has the dtype of x, the others that of the weight. In float16 squares of a large x overflow, and those of a
    small one vanish. Tolerance: 8 roundings of the largest value."""
    grad, x, weight = eighths(rng, 5, 3), eighths(rng, 5, 3), eighths(rng, 3)
    vector = dtype if own else torch.promote_types(dtype, torch.float32)
    got = gradients(grad.to(dtype), (scale * x).to(dtype), weight.to(vector), 0.0)
    want = gradients(grad, x, weight, 0.0)
    want["grad_x"] = want["grad_x"] / scale
    for name, result in got.items():
        expected = dtype if name == "grad_x" else vector
        expect_equal(result.dtype, expected, what=f"the dtype of {name} for x in {dtype}", hint="convert back")
        if scale == 2.0**-13 and name == "grad_x" and dtype == torch.float16:
            continue  # such gradients may reach beyond 65504
        size = want[name].abs().max().item()
        limits = {"rtol": 0.0, "atol": 8 * max(torch.finfo(expected).eps * size, torch.finfo(expected).tiny)}
        what = f"{name} of batch_norm_backward in {dtype}, x times {scale:g}, beside float64"
        expect_close(result.double(), want[name], what=what, hint="widen first, convert back last", **limits)


def test_sums_and_products_do_not_run_in_half_precision():
    """24 rows that add 8192 each: 196608, where float16 ends at 65504. And 256 times a weight of 512 is 131072, although
    grad_x is small again where x is 2048 times [1, -1, -1, 1]."""
    x, grad = column(1, -1).half().repeat(12, 1), torch.full((24, 1), 8192.0).half()
    got = gradients(grad * x, x, torch.ones(1), 0.0)
    hint = "convert to float32 before the sum"
    expect_close(got["grad_weight"], torch.tensor([196608.0]), what="grad_weight of 24 rows in float16", hint=hint)
    got = gradients(grad, x, torch.ones(1), 0.0)["grad_bias"]
    expect_close(got, torch.tensor([196608.0]), what="grad_bias of 24 rows in float16", hint=hint)
    x, grad = 2048 * column(1, -1, -1, 1).half(), column(256, 0, 0, 0).half()
    got = gradients(grad, x, numbers(512).half(), 0.0)["grad_x"]
    hint = "widen grad before it is multiplied, and convert back last"
    expect_close(got, column(32, 0, 0, -32).half(), what="grad_x of batch_norm_backward in float16", hint=hint)


def test_gradients_at_a_large_mean(rng):
    """16384 and deviations of a few units, in float32. Tolerance: 8 roundings of 16384 against 5."""
    offsets = column(-7, -3, 3, 7, -1, 1)[torch.randperm(6, generator=rng)]
    grad, weight = randn(rng, 6, 1), numbers(2)
    want = gradients(grad, offsets, weight, 0.0)
    got = gradients(grad.float(), (16384 + offsets).float(), weight.float(), 0.0)
    for name, result in got.items():
        limits = roundings(8, torch.float32, 16384 / 5 * grad.abs().max().item())
        what = f"{name} of a channel around 16384 in float32, beside float64"
        expect_close(result.double(), want[name], what=what, hint="subtract the mean first, then square", **limits)


def test_a_constant_channel_has_finite_gradients(rng):
    """The root is then sqrt(eps), and the normalised x is 0."""
    grad, x, weight = randn(rng, 4, 2), randn(rng, 4, 2), randn(rng, 2)
    x[:, 1] = 3.0
    got = gradients(grad, x, weight, 0.25)
    want = 2 * weight[1] * (grad[:, 1] - grad[:, 1].mean())
    expect_close(got["grad_x"][:, 1], want, what="grad_x of a constant channel, eps=1/4", hint=FORMULA)
    expect_close(got["grad_weight"][1], 0 * weight[1], what="grad_weight of a constant channel", hint=FORMULA)


def test_the_gradients_are_made_by_hand(rng):
    """No graph: under torch.inference_mode() autograd records nothing, and the formula works as before."""
    grad, x, weight = randn(rng, 4, 3), randn(rng, 4, 3), randn(rng, 3)
    want = gradients(grad, x, weight, EPS)
    try:
        with torch.inference_mode():
            got = gradients(grad.clone(), x.clone(), weight.clone(), EPS)
    except RuntimeError as error:
        sentence = f"batch_norm_backward should do without autograd, but needs it: {error}"
        expect(False, sentence, hint=FORMULA)
    for name, result in got.items():
        expect_close(result.clone(), want[name], what=f"{name} under torch.inference_mode()", hint=FORMULA)


@pytest.mark.parametrize("which", ["training", "evaluation", "batch_norm_backward"])
def test_all_channels_and_positions_at_once(rng, cost, which):
    """A python loop launches operators in proportion to what it runs over. A Jacobian has n^2 numbers."""

    def run(x, weight):
        if which == "batch_norm_backward":
            return batch_norm_backward(x, x, weight)
        return layer_of(len(weight)).train(which == "training")(x)

    def inputs(size):
        return randn(rng, *size), randn(rng, size[1])

    what = {"training": "layer(x) in training mode", "evaluation": "layer(x) in evaluation mode"}.get(which, which)
    hint = "mean and sum take all channels at once, over several dimensions"
    expect_flat_operators(
        run, inputs, [(4, 2, 3, 3), (32, 2, 3, 3), (4, 40, 3, 3), (4, 2, 12, 12)], what=what, hint=hint
    )
    with cost() as spent:
        run(*inputs((8, 4, 4, 4)))
    sentence = f"no new tensor of {what} should be larger than x, of 512 elements, but one has {spent.largest}"
    expect(spent.largest <= 512, sentence, hint="no matrix of all pairs: a mean and a dot product for each channel")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_the_layer_makes_few_passes_over_x(rng, cost, training):
    """It is bound by memory traffic: what counts is how often x is read and written."""
    x, layer = randn(rng, 8, 4, 12, 12).float(), layer_of(4, dtype=torch.float32).train(training)
    with cost() as spent:
        layer(x)
    what = f"layer(x) in {'training' if training else 'evaluation'} mode"
    hint = "work out what belongs to a channel on its few numbers, and touch x last"
    expect_traffic(spent, x, 16 if training else 10, what=what, of="x", hint=hint)


def test_the_graph_keeps_one_copy_of_x(rng):
    """Activations are most of the memory of a training. (x - mean) * scale * weight keeps two: x - mean, and the normalised
    x for the gradient of the weight. One factor for each channel, weight / sqrt(var + eps), needs the first only."""
    x, layer = randn(rng, 4, 3, 16, 16).float().requires_grad_(), layer_of(3, dtype=torch.float32)
    with Alive() as alive:
        y = layer(x)
        kept = (alive.elements() - y.numel()) / x.numel()
    sentence = f"the graph of layer(x) should keep at most one new tensor of the size of x, but keeps {kept:.1f}"
    expect(kept < 1.25, sentence, hint="multiply weight and 1 / sqrt(var + eps) first, then touch x")
