"""Stage 3. float16 at its ends, other dtypes."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from dojo.testing import HALVES, called_for, expect, expect_close, expect_equal, numbers, randint, randn
from katas.mixed_precision_step import LossScaler, MasterWeights

from .helpers import HALF, Weights, expect_number, expect_scale, expect_weights, state_of, stepped, trained


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_half_loss_is_scaled_in_float32(dtype):
    """3 * 65536 is infinite in float16, before backward has begun."""
    for loss in (3.0, 0.001):
        scaled = LossScaler().scale_loss(torch.tensor(loss, dtype=dtype))
        want = torch.tensor(loss, dtype=dtype).float() * 65536
        hint = "loss.float() * scale: a Python number times a float16 tensor is float16"
        expect_close(scaled, want, what=f"scale_loss of {loss} in {dtype} at scale 65536", hint=hint)


def test_a_gradient_that_float16_cannot_hold_survives():
    """1e-8 is 0 in float16, and 6.6e-4 at scale 65536. The division by the scale has to wait for float32."""
    run = trained(numbers(0, 0), init_scale=2.0**16)
    stepped(run, [torch.tensor([1e-8, -3e-8])])
    hint = "float32 first, then unscale: divided in float16 it is 0 again"
    what = "after a step with gradients of 1e-8 and -3e-8, lr=1, at scale 65536,"
    expect_close(
        run.masters.masters[0], torch.tensor([-1e-8, 3e-8]), what=f"master 0 {what}", hint=hint, rtol=2e-3, atol=0.0
    )


def test_small_updates_add_up_in_the_masters():
    """1 - 1e-4 is 1 in float16, so a weight that is kept there never moves; 20 updates of a float32 copy move it by
    0.002. The copy must not be made anew from the parameter at each step."""
    run = trained(numbers(1), options={"lr": 1e-4})
    for _ in range(20):
        stepped(run, [numbers(1)])
    what, hint = "after 20 steps of 1e-4 from 1", "update the masters, and never copy parameters back into them"
    expect_weights(run, [0.998], what=what, hint=hint, rtol=1e-6, atol=0.0)


def test_the_scale_falls_until_the_gradients_fit():
    """4 * 2^16, 4 * 2^15 and 4 * 2^14 are infinite in float16, which ends at 65504; 4 * 2^13 is not."""
    run = trained(numbers(1), init_scale=2.0**16)
    skipped = [stepped(run, [numbers(4)]).skipped for _ in range(5)]
    hint = "an overflow in a gradient skips the step and halves the scale; the next step uses the new scale"
    expect_equal(
        skipped, [True] * 3 + [False] * 2, what="skipped, in 5 steps with a gradient of 4 from 65536 on,", hint=hint
    )
    expect_weights(run, [-7], what="after two good steps of 4 from 1", hint=hint)
    expect_scale(run.scaler, 2**13, "the scale after three overflows from 2^16", hint=hint)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_a_step_in_every_dtype(dtype):
    """A float32 model has masters, too: the step's code is the same."""
    run = trained(numbers(1, 2), numbers(5), dtype=dtype)
    with called_for(f"a model in {dtype}"):
        result = stepped(run, [numbers(0.5, -1), numbers(2)], [numbers(0.5, 1), None], max_norm=100.0)
    what, hint = f"of a {dtype} model after a step with the gradients [1, 0] and [2]", "nothing depends on the dtype"
    expect_weights(run, [0, 2], [3], what=what, hint=hint)
    expect_equal([weight.dtype for weight in run.model.weights], [dtype] * 2, what=f"the dtypes {what}", hint=hint)
    expect_number(result.grad_norm, 5**0.5, f"grad_norm in {dtype}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_other_dtypes_reach_further_than_float16(dtype):
    """Gradients of 2^20 and 2^-40 need no scale there, and must not pass through float16 on their way to the masters."""
    run = trained(numbers(0, 0), dtype=dtype)
    result = stepped(run, [numbers(2.0**20, 2.0**-40)])
    what, hint = f"of a {dtype} model after the gradient [2^20, 2^-40]", "from its dtype to float32, directly"
    sentence = f"a gradient of [2^20, 2^-40] is finite in {dtype}, but its step was skipped"
    expect(not result.skipped, sentence, hint=hint)
    expect_weights(run, [-(2.0**20), -(2.0**-40)], what=what, hint=hint, rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_masters_share_no_memory_with_parameters(dtype):
    """.float() of a float32 tensor is that tensor. A shared master would move the weights before write_back."""
    model = Weights(numbers(1, 2), dtype=dtype)
    masters = MasterWeights(model.parameters())
    with torch.no_grad():
        masters.masters[0].fill_(5)
    what = f"a {dtype} parameter after its master was changed, without write_back"
    expect_equal(model.weights[0].detach(), numbers(1, 2, dtype=dtype), what=what, hint="to(torch.float32, copy=True)")


def test_the_norm_is_summed_in_float32():
    """300^2 is above 65504, and 1e-5^2 below what float16 can hold."""
    for size in (300.0, 1e-5):
        run = trained(torch.zeros(16), torch.zeros(9), init_scale=128.0)
        result = stepped(run, [torch.full((16,), size), torch.full((9,), size)])
        hint = "square and sum the float32 gradients of the masters"
        what = f"grad_norm of 25 gradients of {size:g}"
        want = 5 * float(torch.tensor(size * 128).half()) / 128
        expect_number(result.grad_norm, want, what, hint)


def test_the_loss_is_summed_in_float32():
    """2048 + 1 is 2048 in float16."""
    run = trained(numbers(0), loss_fn=lambda model, share: model.weights[0].sum() + share)
    result = stepped(run, torch.tensor(2048.0, dtype=HALF), torch.tensor(1.0, dtype=HALF))
    expect_number(result.loss, 2049.0, "the loss of float16 shares of 2048 and 1", hint="float32 before you add")


def test_an_infinite_loss_skips_the_step_and_is_reported():
    """Its gradients are NaN or infinite, and the report should not hide that."""
    for value in (float("inf"), float("nan")):
        run = trained(numbers(1), loss_fn=lambda model, factor: (model.weights[0].float() * factor).sum())
        before = state_of(run)
        result = stepped(run, torch.tensor(value))
        expect(result.skipped, f"a step with a loss of {value} should be skipped, but was not", hint="unscale finds it")
        sentence = f"the loss of that step should be {value}, but is {result.loss}"
        expect(str(result.loss) == str(value), sentence, hint="the sum of the losses, as they are")
        expect_equal(state_of(run)["parameter 0"], before["parameter 0"], what=f"the weight after a loss of {value}")


def test_a_real_network_trains_as_in_float32(rng):
    """Two layers and 6 steps, beside torch's own float32 loop. float16 rounds by 5e-4 of each number on the way."""
    layers = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)
    plain, half = nn.Sequential(*layers), nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(randn(rng, *parameter.shape).half() / 4)
    half.load_state_dict(plain.state_dict())
    run = trained(numbers(0), loss_fn=share)
    run.model = half.half()
    run.masters = MasterWeights(half.parameters())
    run.optimizer = SGD(run.masters.masters, lr=0.5, momentum=0.5)
    optimizer = SGD(plain.parameters(), lr=0.5, momentum=0.5)
    x, y = randn(rng, 10, 6).half(), randint(rng, 0, 3, 10)
    for step in range(6):
        loss = cross_entropy(plain(x.float()), y)
        optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(plain.parameters(), 0.5).item()
        optimizer.step()
        result = stepped(run, (x[:4], y[:4]), (x[4:], y[4:]), max_norm=0.5)
        for name, got, want in (("loss", result.loss, loss.item()), ("grad_norm", result.grad_norm, norm)):
            sentence = f"{name} of step {step + 1} should be near float32's {want:.4g}, but is {got:.4g}"
            expect(abs(got - want) <= 0.02 * want + 0.01, sentence, hint="the order of a step, in the kata's text")
    for number, (got, want) in enumerate(zip(run.masters.masters, plain.parameters(), strict=True)):
        what = f"master {number} of a network after 6 steps, beside a float32 one"
        expect_close(got.detach(), want.detach(), what=what, rtol=0.0, atol=0.02)


def share(model, batch):
    x, y = batch
    return cross_entropy(model(x).float(), y, reduction="sum") / 10
