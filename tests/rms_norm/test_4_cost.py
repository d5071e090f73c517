"""Stage 4. Both backward passes, by hand; cost."""

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
)
from katas.rms_norm import add_rms_norm, layer_norm, layer_norm_backward, rms_norm, rms_norm_backward

from .helpers import EPS, eighths, ones

BACKWARD = {"rms_norm": rms_norm_backward, "layer_norm": layer_norm_backward}
NAMES = ("grad_x", "grad_weight", "grad_bias")
EACH = pytest.mark.parametrize("name", BACKWARD)
FORMULA = "write y = x * r * weight, with r a function of all of the row, and differentiate both factors"


def gradients(name, grad, x, weight, eps=EPS):
    """The gradients by their names, after a look at how many there are."""
    got, names = BACKWARD[name](grad, x, weight, eps), NAMES[: 2 if name == "rms_norm" else 3]
    kind = f"{len(got)} results" if isinstance(got, tuple) else f"a {type(got).__name__}"
    sentence = f"{name}_backward should return ({', '.join(names)}), but gave {kind}"
    expect(isinstance(got, tuple) and len(got) == len(names), sentence)
    shapes = [list(weight.shape) if n != "grad_x" else list(x.shape) for n in names]
    for each, shape, result in zip(names, shapes, got, strict=True):
        is_tensor = isinstance(result, torch.Tensor)
        sentence = (
            f"{each} of {name}_backward should have shape {shape}, but is {list(result.shape) if is_tensor else result}"
        )
        expect(is_tensor and list(result.shape) == shape, sentence, hint="sum over everything but the last dimension")
    return dict(zip(names, got, strict=True))


def test_rms_norm_backward_of_a_worked_example():
    """x = [1, -1], eps = 0: r = 1, and the normed row is x. The gradient [1, 0] with weight [2, 4] is [2, 0] there, and
    without its part along the row [1, 1]; the weight's is 1 times 1 and 0 times -1."""
    got = gradients("rms_norm", numbers(1, 0), numbers(1, -1), numbers(2, 4), 0.0)
    what = "of rms_norm_backward([1, 0], x=[1, -1], weight=[2, 4], eps=0)"
    expect_close(got["grad_x"], numbers(1, 1), what=f"grad_x {what}", hint=FORMULA)
    expect_close(got["grad_weight"], numbers(1, 0), what=f"grad_weight {what}", hint="grad times the normed row")


def test_layer_norm_backward_of_a_worked_example():
    """x = [1, -1, 1, -1], eps = 0: r = 1. The gradient [4, 0, 0, 0] has the mean 1 and the part 1 along the row:
    without both, [2, 0, -2, 0]."""
    got = gradients("layer_norm", numbers(4, 0, 0, 0), numbers(1, -1, 1, -1), ones(4), 0.0)
    what = "of layer_norm_backward([4, 0, 0, 0], x=[1, -1, 1, -1], weight=1, eps=0)"
    expect_close(got["grad_x"], numbers(2, 0, -2, 0), what=f"grad_x {what}", hint="take out the mean, and the row")
    expect_close(got["grad_weight"], numbers(4, 0, 0, 0), what=f"grad_weight {what}", hint="grad times the normed row")
    expect_close(got["grad_bias"], numbers(4, 0, 0, 0), what=f"grad_bias {what}", hint="the sum of grad")


@EACH
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 3)], ids=str)
def test_the_gradients_are_the_slopes_of_the_forward_pass(rng, name, shape):
    """Central differences of your own forward pass, along each number of x, weight and bias: off by 1e-8 or so."""
    grad, x = randn(rng, *shape), randn(rng, *shape) + 0.5
    vectors = [randn(rng, shape[-1]) for _ in range(1 if name == "rms_norm" else 2)]
    forward = {"rms_norm": rms_norm, "layer_norm": layer_norm}[name]
    with expect_unchanged(grad, x, *vectors, what="an argument"):
        got = gradients(name, grad, x, vectors[0])
    for place, result in enumerate(got.values()):
        inputs = [x, *vectors]
        want = torch.zeros(inputs[place].numel()).double()
        for index in range(want.numel()):
            step = torch.zeros_like(want).index_fill(0, torch.tensor(index), 1e-5).view_as(inputs[place])
            ahead, behind = (
                forward(*inputs[:place], inputs[place] + sign * step, *inputs[place + 1 :], EPS) for sign in (1, -1)
            )
            want[index] = ((ahead - behind) * grad).sum() / 2e-5
        what = f"{NAMES[place]} of {name}_backward for x of shape {list(shape)}, against the slope of {name},"
        expect_close(result, want.view_as(inputs[place]), what=what, hint=FORMULA, rtol=1e-6, atol=1e-7)


def test_no_gradient_points_along_what_the_norm_takes_out(rng):
    """With eps = 0 a longer row gives the same result, so grad_x . x = 0. layer_norm does not see the mean, so grad_x
    adds up to 0 in each row, whatever eps is."""
    grad, x, weight = randn(rng, 4, 6), 3 * randn(rng, 4, 6) + 1, randn(rng, 6)
    zeros = torch.zeros(4).double()
    for name in BACKWARD:
        along = (gradients(name, grad, x, weight, 0.0)["grad_x"] * x).sum(-1)
        expect_close(along, zeros, what=f"grad_x . x of {name}_backward with eps=0", hint=FORMULA)
    total = gradients("layer_norm", grad, x, weight)["grad_x"].sum(-1)
    expect_close(total, zeros, what="the sum of grad_x in each row of layer_norm_backward", hint="take out the mean")


@EACH
def test_rows_are_independent_and_the_weights_gradient_adds_up(rng, name):
    """grad_x of one row does not see another; grad_weight and grad_bias of two halves of a batch add up."""
    grad, x, weight = randn(rng, 4, 3, 3), 2 * randn(rng, 4, 3, 3), randn(rng, 3)
    whole = gradients(name, grad, x, weight)
    halves = [gradients(name, grad[part], x[part], weight) for part in (slice(0, 1), slice(1, 4))]
    want = torch.cat([half["grad_x"] for half in halves])
    expect_close(whole["grad_x"], want, what=f"grad_x of {name}_backward, against parts of the batch", hint="dim=-1")
    for vector in list(whole)[1:]:
        want, hint = halves[0][vector] + halves[1][vector], "a sum over all rows, not a mean"
        expect_close(whole[vector], want, what=f"{vector} of {name}_backward, against parts of the batch", hint=hint)


def test_the_default_eps_of_the_backward_passes(rng):
    """The same as in the forward passes: small rows show it."""
    grad, x, weight = randn(rng, 3, 4), 2e-3 * randn(rng, 3, 4), randn(rng, 4)
    for name, eps in (("rms_norm", 1e-6), ("layer_norm", 1e-5)):
        got, want = BACKWARD[name](grad, x, weight), gradients(name, grad, x, weight, eps)
        for each, result in zip(want, got, strict=True):
            what = f"{each} of {name}_backward with its default eps"
            expect_close(result, want[each], what=what, hint=f"eps={eps:g}, as in {name}")


@EACH
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("scale", [1.0, 2.0**11, 2.0**-13], ids=["around 1", "large", "small"])
def test_the_backward_pass_works_in_every_floating_dtype(rng, name, dtype, scale):
    """grad_x has the dtype of x, the others that of the weight, float32 here or float64. A large x has small gradients
    and a small x large ones, so grad is scaled as x is: in float16 squares of x overflow or vanish. Tolerance: 8
    roundings of the largest value."""
    grad, x, weight = eighths(rng, 5, 6), eighths(rng, 5, 6), eighths(rng, 6)
    vector = torch.promote_types(dtype, torch.float32)
    got = gradients(name, grad.to(dtype), (scale * x).to(dtype), weight.to(vector), 0.0)
    want = gradients(name, grad, x, weight, 0.0)
    want["grad_x"] = want["grad_x"] / scale
    for each, result in got.items():
        expected = dtype if each == "grad_x" else vector
        expect_equal(result.dtype, expected, what=f"the dtype of {each} for x in {dtype}", hint="convert back")
        if scale == 2.0**-13 and each == "grad_x" and dtype == torch.float16:
            continue  # such gradients reach beyond 65504
        size = want[each].abs().max().item()
        tolerance = {"rtol": 0.0, "atol": 8 * max(torch.finfo(expected).eps * size, torch.finfo(expected).tiny)}
        what = f"{each} of {name}_backward in {dtype}, x times {scale:g}, beside float64"
        expect_close(result.double(), want[each], what=what, hint="widen first, convert back last", **tolerance)


@EACH
def test_sums_over_rows_do_not_run_in_half_precision(name):
    """24 rows that add 8192 each: 196608, where float16 ends at 65504. The weight and its gradient are float32."""
    x, grad = torch.tensor([1.0, -1, 1, -1]).half().expand(24, 4), torch.full((24, 4), 8192.0).half()
    got = gradients(name, grad, x, torch.ones(4), 0.0)
    want = 24 * 8192 * torch.tensor([1.0, -1, 1, -1])
    hint = "convert to float32 before the sum"
    expect_close(got["grad_weight"], want, what=f"grad_weight of {name}_backward of 24 rows in float16", hint=hint)
    if name == "layer_norm":
        expect_close(got["grad_bias"], want.abs(), what="grad_bias of 24 rows in float16", hint=hint)


def test_products_do_not_overflow_in_half_precision():
    """256 times a weight of 512 is 131072, where float16 ends at 65504, although grad_x is small again: x = 2048 times
    [1, -1, -1, 1]. The weight's gradient is float16 here, as the weight is."""
    x = 2048 * torch.tensor([1.0, -1, -1, 1]).half()
    grad, weight = torch.tensor([256.0, 0, 0, 0]).half(), torch.full((4,), 512.0).half()
    for name, want in (("rms_norm", [48.0, 16, 16, -16]), ("layer_norm", [32.0, 0, 0, -32])):
        got, hint = gradients(name, grad, x, weight, 0.0), "widen grad before it is multiplied, and convert back last"
        expect_close(got["grad_x"], torch.tensor(want).half(), what=f"grad_x of {name}_backward in float16", hint=hint)
        for vector in list(got)[1:]:
            expect_close(got[vector], grad, what=f"{vector} of {name}_backward in float16", hint=hint)


def test_a_row_of_zeros_has_finite_gradients(rng):
    """r = 1 / sqrt(eps) there: the gradient is large, and finite."""
    grad, x, weight = randn(rng, 3, 4), randn(rng, 3, 4), randn(rng, 4)
    x[1] = 0.0
    got = gradients("rms_norm", grad, x, weight, 0.25)["grad_x"][1]
    expect_close(got, 2 * grad[1] * weight, what="grad_x of a row of zeros with eps=1/4", hint=FORMULA)
    got, inner = gradients("layer_norm", grad, x, weight, 0.25)["grad_x"][1], grad[1] * weight
    expect_close(got, 2 * (inner - inner.mean()), what="grad_x of a row of zeros, layer_norm", hint=FORMULA)


@EACH
def test_the_gradients_are_made_by_hand(rng, name):
    """No graph: under torch.inference_mode() autograd records nothing, and the formula works as before."""
    grad, x, weight = randn(rng, 3, 4), randn(rng, 3, 4), randn(rng, 4)
    want = gradients(name, grad, x, weight)
    try:
        with torch.inference_mode():
            got = gradients(name, grad.clone(), x.clone(), weight.clone())
    except RuntimeError as error:
        expect(False, f"{name}_backward should do without autograd, but needs it: {error}", hint=FORMULA)
    for each, result in got.items():
        expect_close(result.clone(), want[each], what=f"{each} under torch.inference_mode()", hint=FORMULA)


@pytest.mark.parametrize("function", [rms_norm, layer_norm, add_rms_norm], ids=lambda f: f.__name__)
def test_the_forward_pass_makes_few_passes_over_x(rng, cost, function):
    """A norm is bound by memory traffic: what counts is how often the row is read and written."""
    x, vector = randn(rng, 64, 96), randn(rng, 96)
    arguments, most = {
        rms_norm: ((vector,), 8.5),
        layer_norm: ((vector, vector), 13.5),
        add_rms_norm: ((x, vector), 13.5),
    }[function]
    with cost() as spent:
        function(x, *arguments)
    expect_traffic(spent, x, most, what=function.__name__, of="x", hint="one chain: square, mean, scale, weight")


@pytest.mark.parametrize("name", ["rms_norm", "layer_norm", "rms_norm_backward", "layer_norm_backward"])
def test_all_rows_are_processed_at_once(rng, cost, name):
    """A python loop launches operators in proportion to what it runs over. A row's Jacobian has dim^2 numbers."""
    function = {"rms_norm": rms_norm, "layer_norm": layer_norm}.get(name) or BACKWARD[name.removesuffix("_backward")]

    def inputs(size):
        x, vector = randn(rng, *size), randn(rng, size[-1])
        return {"rms_norm": (x, vector), "layer_norm": (x, vector, vector)}.get(name, (x, x, vector))

    hint = "mean and sum take all rows at once"
    expect_flat_operators(function, inputs, [(4, 10), (64, 10), (4, 160)], what=name, hint=hint, slack=3)
    with cost() as spent:
        function(*inputs((16, 20)))
    sentence = f"no new tensor of {name} should be larger than x, of 320 elements, but one has {spent.largest}"
    expect(spent.largest <= 320, sentence, hint="a projection is a dot product and a multiple of the row: no matrix")
