"""Stage 3. Every floating dtype, the limits of the weights, gradients."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_unchanged,
    numbers,
    randn,
    roundings,
)
from dojo.testing.diffusion import FINE, SIX, STEP_TOLERANCE
from katas.v_prediction import loss_weight, prediction_target, weighted_loss, zero_terminal_snr

from .helpers import CONVERSIONS, INF, KINDS, T, at

FUNCTIONS = {"prediction_target": prediction_target, **CONVERSIONS}
LATE = "take 1 - abar in the schedule's dtype, and cast only the finished coefficients"
WIDEN = ".float() before the first operation, float64 as it is"


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_results_have_the_dtype_of_the_images(rng, name, schedule_dtype, dtype):
    """A float64 schedule promotes float32 images without a word."""
    a, b = randn(rng, 2, 4, 3, 5, dtype=dtype)
    t, close = at(40, 0, 300, 41), STEP_TOLERANCE[dtype]
    schedule = zero_terminal_snr(FINE[:301])  # its last step is pure noise, but for one kind
    for kind in KINDS:
        schedule[-1] = 0.1 if (name, kind) == ("to_x0", "eps") else 0.0
        got = FUNCTIONS[name](a, b, t, schedule.to(schedule_dtype), kind)
        exact = FUNCTIONS[name](a.double(), b.double(), t, schedule, kind)
        what = f'{name}(kind="{kind}") for {dtype} images and a {schedule_dtype} schedule'
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="cast the coefficients to the images' dtype")
        largest = max(1.0, exact.abs().max().item())
        expect_close(got.double(), exact, what=what, hint=LATE, rtol=close, atol=close * largest)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_a_narrow_schedule_keeps_wide_images(rng, dtype):
    """A checkpoint that was cast as a whole has a schedule in half precision. Its digits are lost, the images' dtype is not."""
    a, b = randn(rng, 2, 6, 4)
    for name, function in FUNCTIONS.items():
        for kind in KINDS:
            got, exact = function(a, b, T, SIX.to(dtype), kind), function(a, b, T, SIX, kind)
            what = f'{name}(kind="{kind}") for float64 images and a {dtype} schedule'
            close = 4 * torch.finfo(dtype).eps * max(1.0, exact.abs().max().item())
            expect_close(
                got, exact, what=what, hint="cast the coefficients to the images' dtype", rtol=close, atol=close
            )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_first_steps_survive_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and what is multiplied with
    sqrt(1 - abar) = 0.01 is gone, or divided by 0. Relative tolerance 2e-2: bfloat16 keeps 8 bits."""
    zero, one, t = torch.zeros(3, 4, dtype=dtype), torch.ones(3, 4, dtype=dtype), at(0, 1, 2)
    small = (1 - FINE[:3]).sqrt()
    for name, kind, inputs, factor in (
        ("prediction_target", "v", (one, zero), -small),
        ("to_x0", "eps", (zero, one), -small / FINE[:3].sqrt()),
        ("to_x0", "v", (zero, one), -small),
        ("to_eps", "v", (one, zero), small),
        ("to_eps", "x0", (one, zero), 1 / small),
    ):
        got = FUNCTIONS[name](*inputs, t, FINE, kind)
        exact = factor[:, None].expand(3, 4)
        what = f'{name}({inputs[0][0, 0]:g}, {inputs[1][0, 0]:g}, t=[0, 1, 2], kind="{kind}") in {dtype}'
        expect_close(got.double(), exact, what=what, hint=LATE, rtol=2e-2, atol=0)


def test_coefficients_are_the_roots_themselves():
    """At abar = 1e-12 the data weigh 1e-6, at 1 - 2^-20 the noise weighs 2^-10: exact to 1e-9 in float64. A small number that
    is added against a division by 0, a limit, or a detour over float32 shows here. At 1e-18 and 1 - 2^-40 a limit of 1e-8
    shows, too; there 1e-6 will do, for a root that is the cosine of an angle."""
    zero, one, abar = numbers(0), numbers(1), numbers(1e-12, 1 - 2.0**-20, 1e-18, 1 - 2.0**-40)
    for name, kind, inputs, t, right in (
        ("prediction_target", "v", (zero, one), 0, 1e-6),
        ("prediction_target", "v", (one, zero), 1, -(2.0**-10)),
        ("to_x0", "v", (one, zero), 0, 1e-6),
        ("to_x0", "v", (zero, one), 1, -(2.0**-10)),
        ("to_x0", "eps", (one, zero), 0, 1e6),
        ("to_eps", "v", (zero, one), 0, 1e-6),
        ("to_eps", "v", (one, zero), 1, 2.0**-10),
        ("to_eps", "x0", (one, zero), 1, 2.0**10),
        ("prediction_target", "v", (zero, one), 2, 1e-9),
        ("prediction_target", "v", (one, zero), 3, -(2.0**-20)),
        ("to_x0", "v", (one, zero), 2, 1e-9),
        ("to_x0", "v", (zero, one), 3, -(2.0**-20)),
        ("to_x0", "eps", (one, zero), 2, 1e9),
        ("to_eps", "v", (zero, one), 2, 1e-9),
        ("to_eps", "v", (one, zero), 3, 2.0**-20),
        ("to_eps", "x0", (one, zero), 3, 2.0**20),
    ):
        got = FUNCTIONS[name](*inputs, at(t), abar, kind)
        where = ["1e-12", "1 - 2^-20", "1e-18", "1 - 2^-40"][t]
        what = f'{name}({inputs[0][0]:g}, {inputs[1][0]:g}, abar={where}, kind="{kind}")'
        hint = "nothing is added to a root or to a denominator, and nothing is clamped"
        expect_close(got, numbers(right), what=what, hint=hint, rtol=[1e-9, 1e-9, 1e-6, 1e-6][t], atol=0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_computed_in_float32_at_least(kind, dtype):
    """Weights multiply a float32 loss. The schedule's own rounding is no matter here: both sides see the same abar."""
    schedule = SIX.to(dtype)
    exact = loss_weight(T, schedule.double(), kind, 0.7).to(wide(dtype))
    got = loss_weight(T, schedule, kind, 0.7)
    what = f'loss_weight("{kind}", gamma=0.7) of a {dtype} schedule'
    expect_equal(got.dtype, wide(dtype), what=f"the dtype of {what}", hint="float64 stays, all others become float32")
    expect_close(got, exact, what=what, hint=WIDEN)
    ones = loss_weight(T, schedule, kind)
    expect_close(ones, torch.ones(6, dtype=wide(dtype)), what=f'loss_weight("{kind}") of a {dtype} schedule, no gamma')


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_weights_at_the_limits(dtype):
    """snr of 1e-20, of 4194303 and between, under a tiny and a huge gamma: exact to the last digits, and nothing is added to
    a denominator. Tolerance: 100 roundings of each weight."""
    schedule = torch.tensor([1 - 2.0**-22, 0.5, 1e-20], dtype=dtype)
    high, low = 2.0**22 - 1, 1e-20
    for gamma, kind, weights in (
        (5.0, "eps", (5 / high, 1, 1)),
        (5.0, "x0", (5, 1, low)),
        (5.0, "v", (5 / 2**22, 0.5, low)),
        (1e-6, "eps", (1e-6 / high, 1e-6, 1)),
        (1e-6, "v", (1e-6 / 2**22, 5e-7, low)),
        (INF, "eps", (1, 1, 1)),
        (INF, "x0", (high, 1, low)),
        (INF, "v", (1 - 2.0**-22, 0.5, low)),
    ):
        got = loss_weight(at(0, 1, 2), schedule, kind, gamma)
        what = f'loss_weight(abar=[1 - 2^-22, 0.5, 1e-20], "{kind}", gamma={gamma:g}) in {dtype}'
        rtol = 100 * torch.finfo(dtype).eps
        hint = "min(snr, gamma) over the factor, as it stands; no 1e-8 and no clamp of snr"
        expect_close(got, numbers(*weights, dtype=dtype), what=what, hint=hint, rtol=rtol, atol=0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("weight_dtype", FLOATS, ids=str)
def test_the_loss_is_float32_at_least(dtype, weight_dtype):
    """float64 only for float64 predictions, whatever the weights are: those come from a schedule."""
    prediction, target = torch.tensor([[4.0, 5], [8, 7]], dtype=dtype), torch.tensor([[3.0, 2], [6, 7]], dtype=dtype)
    got = weighted_loss(prediction, target, torch.tensor([1.0, 10], dtype=weight_dtype))
    what = f"weighted_loss of {dtype} predictions with {weight_dtype} weights"
    expect_close(got, torch.tensor(12.5, dtype=wide(dtype)), what=what, hint="cast prediction, target and weight")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_loss_widens_before_it_subtracts_and_squares(dtype):
    """300 squared is too large for float16. 1.0078125 + 2 = 3.0078125 needs a digit more than bfloat16 has, 1.0009765625 + 2
    one more than float16, and a mean of 4096 squares that is added up in half precision stops growing. Tolerance: half a
    rounding for each of 4096 sums."""
    digit = 1 + torch.finfo(dtype).eps
    for a, b in ((300.0, 0.0), (digit, -2.0), (40000.0, -40000.0)):
        prediction, target = torch.full((2, 4096), a).to(dtype), torch.full((2, 4096), b).to(dtype)
        got = weighted_loss(prediction, target, torch.ones(2))
        right = torch.tensor((prediction[0, 0].item() - target[0, 0].item()) ** 2)
        what = f"weighted_loss of 2 samples whose 4096 predictions are all {a:g} and targets {b:g}, in {dtype}"
        expect_close(got, right, what=what, hint=WIDEN, **roundings(2048, torch.float32, right))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_schedule_keeps_its_dtype_and_its_digits(dtype):
    """Computed in float32 at least, and rounded once. Tolerance: this rounding, and 1e-6 for those of float32."""
    schedule = SIX.to(dtype)
    got, exact = zero_terminal_snr(schedule), zero_terminal_snr(schedule.double())
    what = f"zero_terminal_snr in {dtype}"
    expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="cast back to the dtype of abar")
    hint = "roots, shift and scale in float32 at least"
    expect_close(got.double(), exact, what=what, hint=hint, rtol=0.55 * torch.finfo(dtype).eps, atol=1e-6)
    expect_equal(got[-1].item(), 0.0, what=f"the last entry of {what}", hint="root - root[-1] is 0 exactly")


def test_float64_keeps_its_digits():
    """A detour over float32 that ends in float64 has the right dtype and half of the digits."""
    got, exact = zero_terminal_snr(numbers(0.81, 0.36, 0.09)), numbers(0.81, 0.2025, 0)
    expect_close(got, exact, what="zero_terminal_snr([0.81, 0.36, 0.09])", hint="float64 stays", rtol=0, atol=1e-13)
    got, right = weighted_loss(numbers(1 + 2.0**-40), numbers(1), numbers(1)), numbers(2.0**-80)[0]
    what = "weighted_loss(prediction=1 + 2^-40, target=1, weight=1), which is 2^-80,"
    expect_close(got, right, what=what, hint="float64 stays", rtol=1e-12, atol=0)
    got, right = weighted_loss(numbers(1), numbers(0), numbers(1 + 2.0**-40)), numbers(1 + 2.0**-40)[0]
    what = "weighted_loss(prediction=1, target=0, weight=1 + 2^-40)"
    expect_close(got, right, what=what, hint="a float64 weight stays, too", rtol=1e-14, atol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_targets_and_conversions(rng, name, kind):
    """Distillation and guidance differentiate through them: by both images, with finite differences in float64."""
    a, b = randn(rng, 2, 3, 2)
    unused = {("prediction_target", "eps"): [1], ("prediction_target", "x0"): [0]}
    by = unused.get((name, kind), [1] if kind == name[3:] else [0, 1])

    def call(*leaves):
        images = [a, b]
        for place, leaf in zip(by, leaves, strict=True):
            images[place] = leaf
        return FUNCTIONS[name](*images, at(5, 0, 2), SIX, kind)

    expect_gradients(call, [[a, b][place] for place in by], what=f'{name}(kind="{kind}")')


def test_gradients_in_pure_noise():
    """A division that is computed and then thrown away sends NaN into the gradient, although the result looks right."""
    ends = numbers(1, 0)
    for name, right in (("to_x0", [1, 0, 0, -1]), ("to_eps", [0, 1, 1, 0])):
        leaves = numbers(3, 2).requires_grad_(), numbers(2, -3).requires_grad_()
        backward(CONVERSIONS[name](*leaves, at(0, 1), ends, "v").sum(), what=f'{name}(kind="v")')
        for leaf in leaves:
            expect(leaf.grad is not None, f'{name}(kind="v") should be differentiable in x_t and prediction')
        got = torch.cat([leaf.grad for leaf in leaves])
        what = f'the gradients of {name}(abar=[1, 0], kind="v") by x_t and by the prediction'
        expect_close(got, numbers(*right), what=what, hint="compute for v what v needs, and no division")


def test_the_gradient_of_the_loss(rng):
    """2 weight (prediction - target) / (elements of a sample x batch), and 0 where the weight is 0."""
    prediction, target = randn(rng, 2, 3, 2, 2)
    weight, leaf = numbers(2, 0, 0.5), prediction.clone().requires_grad_()
    backward(weighted_loss(leaf, target, weight), what="weighted_loss")
    right = 2 * weight[:, None, None] * (prediction - target) / 12
    expect_close(leaf.grad, right, what="the gradient of weighted_loss by the prediction")


def test_arguments_are_not_modified_and_may_be_views(rng):
    """The noise is needed for the loss, the schedule for the next batch. Channels-last images, strided schedules."""
    abar, t, weight = (each.repeat_interleave(2)[::2] for each in (SIX, T, numbers(1, 2, 3, 4, 5, 6)))
    dense, other = randn(rng, 2, 6, 3, 5, 5)
    x = dense.to(memory_format=torch.channels_last)
    with expect_unchanged(x, other, t, abar, weight, what="every argument"):
        for kind in KINDS:
            for name, function in FUNCTIONS.items():
                got, right = function(x, other, t, abar, kind), function(dense, other, T, SIX, kind)
                expect_close(got, right, what=f'{name}(kind="{kind}") of views', hint="reshape, not view")
            loss_weight(t, abar, kind, 2.0)
        got = weighted_loss(x, other, weight)
        changed = zero_terminal_snr(abar)
    expect_close(
        got, weighted_loss(dense, other, weight.clone()), what="weighted_loss of views", hint="reshape, not view"
    )
    expect_close(changed, zero_terminal_snr(SIX), what="zero_terminal_snr of a strided schedule")
    shared = changed.untyped_storage().data_ptr() == abar.untyped_storage().data_ptr()
    expect(not shared, "zero_terminal_snr should return a schedule of its own, but shares the memory of abar")
