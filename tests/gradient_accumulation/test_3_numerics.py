"""Stage 3. Infinite and NaN norms, every floating dtype."""

from itertools import combinations

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_no_graph,
    numbers,
    randint,
)

from .helpers import (
    INF,
    NAN,
    clipped,
    expect_clipped,
    expect_number,
    expect_weights,
    micro,
    step_of,
    stepped,
    trained,
)

WIDE = "square and sum in float32: torch.linalg.vector_norm(grad, dtype=torch.float32), or grad.float()"
WIDER = {dtype: torch.promote_types(dtype, torch.float32) for dtype in FLOATS}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("value", [INF, -INF, NAN], ids=str)
def test_gradients_stay_under_a_norm_that_is_not_finite(value, dtype):
    """max_norm / inf is 0, which would set all gradients to 0, and inf itself to NaN. Nobody could see any more what was
    wrong."""
    for place, most in ((0, 1.0), (1, 1000.0), (1, INF)):
        grads = [numbers(3, 0, dtype=dtype), numbers(4, 5, dtype=dtype)]
        grads[place][1] = value
        norm, got = clipped(*grads, max_norm=most)
        what = f"of gradients with {value} in parameter {place}, at max_norm={most}"
        want = "nan" if value != value else "inf"
        sentence = f"the norm {what} should be {want}, but is {norm.item()}"
        expect(str(norm.item()) == want, sentence, hint="return the norm as it is")
        for number, (grad, old) in enumerate(zip(got, grads, strict=True)):
            same = grad.dtype == dtype and torch.equal(grad.nan_to_num(77.0), old.nan_to_num(77.0))
            sentence = f"gradient {number} {what} should stay {old.tolist()}, but is {grad.tolist()}"
            expect(same, sentence, hint="scale only under a finite norm")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradients_keep_their_dtype(dtype):
    """And the norm is in float32 at least. All numbers are exact in every dtype."""
    norm, grads = clipped(numbers(3, 0, dtype=dtype), numbers(4, dtype=dtype), max_norm=2.5)
    hint = "the norm in float32, or float64 for float64; gradients in their own dtype"
    expect_close(norm, numbers(5, dtype=WIDER[dtype])[0], what=f"the norm of {dtype} gradients", hint=hint)
    want = [numbers(1.5, 0, dtype=dtype), numbers(2, dtype=dtype)]
    rtol = max(2e-6, 2 * torch.finfo(dtype).eps)
    expect_clipped(grads, want, what=f"of {dtype}, clipped to half their norm", hint=hint, rtol=rtol, atol=0.0)
    norm, grads = clipped(numbers(3, 0, dtype=dtype), numbers(4, dtype=dtype), max_norm=6.0)
    want = [numbers(3, 0, dtype=dtype), numbers(4, dtype=dtype)]
    expect_clipped(grads, want, what=f"of {dtype}, below the limit", hint=hint, rtol=0.0, atol=0.0)


@pytest.mark.parametrize(("one", "other"), list(combinations(FLOATS, 2)), ids=str)
def test_gradients_of_two_dtypes(one, other):
    """Half a model in bfloat16, its norms and routers in float32: one norm for both."""
    for first, second in ((one, other), (other, one)):
        with called_for(f"gradients in {first} and {second}"):
            norm, grads = clipped(numbers(3, 0, dtype=first), numbers(4, dtype=second), max_norm=2.5)
        want = numbers(5, dtype=torch.promote_types(WIDER[first], WIDER[second]))[0]
        what, hint = f"the norm of gradients in {first} and {second}", "float64 if one of them is, else float32"
        expect_close(norm, want, what=what, hint=hint)
        want = [numbers(1.5, 0, dtype=first), numbers(2, dtype=second)]
        what = f"of {first} and {second}, clipped to half their norm,"
        expect_clipped(grads, want, what=what, hint="each in its own dtype", rtol=0.016, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_norm_of_large_and_small_halves(dtype):
    """The square of 300 is above float16's 65504, and so is the norm of 25 times 30000; the square of 1e-5 is 0 in it."""
    for size in (300.0, 30000.0, 1e-5):
        grads = torch.full((16,), size).to(dtype), torch.full((9,), size).to(dtype)
        most = 1.25 * float(grads[0][0])
        norm, got = clipped(*grads, max_norm=most)
        want = 5 * grads[0][0].float()
        expect_close(norm, want, what=f"the norm of 25 {dtype} gradients of {size:g}", hint=WIDE)
        if size > 1:  # torch's 1e-6 beside a norm counts
            what = f"of 25 times {size:g} in {dtype}, clipped to a quarter of their norm,"
            expect_clipped(got, [grad / 4 for grad in grads], what=what, hint=WIDE, rtol=0.016, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_many_halves_add_up(dtype):
    """Their squares are 4096 and 16 times 1: in float16 and bfloat16, 4096 + 1 is 4096."""
    grads = [torch.full((1,), 64.0, dtype=dtype)] + [torch.ones(1, dtype=dtype)] * 16
    norm, _ = clipped(*grads, max_norm=INF)
    what = f"the norm of {dtype} gradients of 64 and 16 times 1"
    expect_close(norm, torch.tensor(4112.0).sqrt(), what=what, hint=WIDE)


def test_the_norm_of_doubles_is_exact():
    """1 + 1e-10 is 1 in float32, and 1e200 squared is infinite even in float64: that one is up to you."""
    norm, _ = clipped(numbers(1e-5), numbers(1), max_norm=INF)
    want = numbers((1 + 1e-10) ** 0.5)[0]
    what = "the norm of float64 gradients of 1e-5 and 1"
    expect_close(norm, want, what=what, hint="float64 all the way", rtol=1e-13, atol=0.0)
    norm, grads = clipped(numbers(1e30), numbers(1e30), max_norm=1e30)
    half = numbers(1e30 * 0.5**0.5)
    what = "of 1e30 and 1e30 in float64, clipped to 1e30,"
    expect_clipped(grads, [half, half], what=what, hint="float64 all the way", rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_norm_has_no_graph(dtype):
    """It is for a log, which would keep it."""
    norm, _ = clipped(numbers(3, 0, dtype=dtype), max_norm=1.0)
    expect_no_graph(norm, what="the norm")
    norm, _ = clipped(numbers(3, 0, dtype=dtype), max_norm=9.0)
    expect_no_graph(norm, what="the norm below the limit")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_step_in_every_dtype(rng, dtype):
    """8 items in micro-batches of 1, 4 and 3, of small integers."""
    x = randint(rng, -4, 5, 8, 2).to(dtype)
    run = trained(numbers(0, 0), dtype=dtype)
    batches = [(part, torch.ones(len(part), dtype=torch.long)) for part in x.split([1, 4, 3])]
    with called_for(f"a model in {dtype}"):
        result = stepped(run, *batches, max_norm=100.0)
    mean = x.double().mean(0)
    what, hint = f"of a {dtype} model after a step over 8 items", "nothing depends on the dtype"
    eps = torch.finfo(dtype).eps
    expect_weights(run, -mean, what=what, hint=hint, rtol=4 * eps, atol=4 * eps)
    expect_number(result.grad_norm, float(mean.norm()), f"grad_norm of a {dtype} model", hint=hint, rtol=4 * eps)
    expect_equal(run.model.weights[0].dtype, dtype, what=f"the dtype {what}", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_loss_in_every_dtype(dtype):
    """2048 + 1 is 2048 in float16 and bfloat16."""
    run = trained(numbers(1), dtype=dtype)
    result = stepped(run, micro([[2048]], dtype=dtype), micro([[1]], dtype=dtype))
    hint = "the sum of losses, in float32 at least, by the count"
    expect_number(result.loss, 1024.5, f"the loss of 2 items of a {dtype} model", hint=hint)


def test_losses_add_up_in_float64():
    """1e9 + 0.125 is 1e9 in float32."""
    run = trained(numbers(0), loss_sum=lambda outputs, y: (outputs.sum() + y.double().sum(), 3))
    batches = [(torch.ones(1, 1).double(), y) for y in (numbers(1e9), numbers(0.125), numbers(-1e9))]
    result = step_of(run, batches)
    hint = "float64 losses stay in float64 until they are divided"
    expect_number(result.loss, 0.125 / 9, "the loss of parts of 1e9, 0.125 and -1e9 and 9 items", hint=hint, rtol=1e-4)
