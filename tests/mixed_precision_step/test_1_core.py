"""Stage 1. The scaler, the masters, the step."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_own_work, numbers, randint, randn
from dojo.testing.describe import describe
from katas import mixed_precision_step as kata
from katas.mixed_precision_step import LossScaler, MasterWeights

from .helpers import (
    HALF,
    INF,
    NAN,
    Weights,
    expect_masters,
    expect_number,
    expect_scale,
    expect_weights,
    slope_loss,
    stepped,
    trained,
)
from .probe import FORBIDDEN


def test_the_scale_starts_as_told():
    """2^16 is above all that float16 can hold, so the first steps of a run may well be skipped."""
    expect_scale(LossScaler(), 65536, "LossScaler().scale", hint="init_scale is 2^16 by default")
    expect_scale(LossScaler(8.0), 8, "LossScaler(8.0).scale")


def test_the_scale_grows_after_2000_good_steps():
    """The other defaults: a factor of 2, and an interval of 2000."""
    scaler = LossScaler()
    for _ in range(1999):
        scaler.update(False)
    expect_scale(scaler, 65536, "LossScaler().scale after 1999 good steps", hint="growth_interval is 2000 by default")
    scaler.update(False)
    expect_scale(scaler, 131072, "LossScaler().scale after 2000 good steps", hint="growth_factor is 2 by default")
    scaler.update(True)
    expect_scale(scaler, 65536, "LossScaler().scale after an overflow more", hint="backoff_factor is 1/2 by default")


def test_the_scaler_is_your_own():
    """torch has it ready-made; the question is what happens inside."""
    LossScaler()
    expect_own_work(kata, FORBIDDEN)


def test_scale_loss_multiplies_and_keeps_the_graph():
    """Every gradient is then larger by the scale, because backward is linear."""
    weight = torch.tensor(3.0, requires_grad=True)
    loss = weight * weight
    scaled = LossScaler(8.0).scale_loss(loss)
    expect_close(scaled, torch.tensor(72.0), what="scale_loss(9) at scale 8", hint="loss * scale")
    expect_close(loss, torch.tensor(9.0), what="the loss after scale_loss", hint="not in place: it is reported later")
    expect(
        scaled.requires_grad, "scale_loss should keep the graph of the loss, but its result has none", hint="no item()"
    )
    scaled.backward()
    hint = "loss * scale, so that backward starts with the scale"
    expect_close(weight.grad, torch.tensor(48.0), what="the gradient of scale_loss(w * w) at w = 3, scale 8", hint=hint)


def test_unscale_divides_every_gradient_in_place(rng):
    """The gradients belong to parameters, so a new list of quotients reaches nobody. Powers of two divide exactly."""
    want = [randn(rng, *shape, dtype=torch.float32) for shape in ((3,), (1,), (2, 4), (4, 2))]
    want[1] = want[1].squeeze(0)  # one number
    grads = [8 * grad for grad in want]
    grads[3] = grads[3].t().contiguous().t()  # as a transposed weight has it
    found = LossScaler(8.0).unscale(grads)
    for number, (grad, wanted) in enumerate(zip(grads, want, strict=True)):
        what = f"gradient {number} of shape {list(wanted.shape)}, 8 times as large, after unscale at scale 8"
        expect_close(grad, wanted, what=what, hint="grad.div_(scale), once, in place", rtol=0.0, atol=0.0)
    sentence = f"unscale of finite gradients should return False, but returned {describe(found)}"
    expect(found is False, sentence, hint="True if any is not finite, a bool")


@pytest.mark.parametrize("value", [INF, -INF, NAN], ids=str)
@pytest.mark.parametrize("place", ["first", "last"])
def test_unscale_sees_what_is_not_finite(value, place):
    """-inf hides from `== inf`, and NaN from every comparison. inf - inf in a sum is NaN, so NaN is no rare guest."""
    grads = [torch.ones(3), torch.ones(2, 2), torch.tensor(1.0), torch.ones(4)]
    grads[0 if place == "first" else -1][1] = value
    found = LossScaler(8.0).unscale(grads)
    sentence = f"unscale with {value} in the {place} gradient should return True, but returned {describe(found)}"
    expect(found is True, sentence, hint="isfinite() is False for inf, -inf and NaN; look at every gradient")


def test_unscale_of_large_finite_gradients_finds_nothing():
    """A sum of them is infinite in float32, and none of them is."""
    found = LossScaler(8.0).unscale([torch.full((40,), 3e38), torch.full((40,), -3e38)])
    sentence = f"unscale of gradients of 3e38 should return False, but returned {describe(found)}"
    expect(found is False, sentence, hint="isfinite() of each number; a sum or a norm may overflow by itself")


def test_the_scale_after_each_update():
    """From 4, with growth after 2 good steps in a row, and an overflow in step 4, as torch's GradScaler does it."""
    scaler, scales = LossScaler(4.0, growth_interval=2), []
    for found in (False, False, False, True, False, False):
        scaler.update(found)
        scales.append(float(scaler.scale))
    hint = (
        "an overflow halves the scale and restarts the count; the 2nd good step in a row doubles it and restarts, too"
    )
    want = [4.0, 8.0, 8.0, 4.0, 4.0, 8.0]
    expect_equal(scales, want, what="the scale after good, good, good, overflow, good, good", hint=hint)


@pytest.mark.parametrize("interval", [1, 2, 3, 5])
def test_the_scale_follows_torch(rng, interval):
    """The operator that torch's GradScaler calls in update(), over a random run; the factors are not 2 and 1/2."""
    factors = {"growth_factor": 1.5, "backoff_factor": 0.75}
    scaler = LossScaler(1024.0, **factors, growth_interval=interval)
    scale, count = torch.tensor(1024.0), torch.tensor(0, dtype=torch.int32)
    run = (randint(rng, 0, 4 * interval + 2, 25) < 4).tolist()
    for step, found in enumerate(run):
        scaler.update(found)
        torch._amp_update_scale_(scale, count, torch.tensor(float(found)), 1.5, 0.75, interval)
        told = ", ".join("overflow" if each else "good" for each in run[: step + 1])
        what = f"the scale from 1024 with factors 1.5 and 0.75 and interval {interval}, after {told},"
        hint = "growth_interval good steps in a row multiply the scale by growth_factor, an overflow by backoff_factor"
        expect_scale(scaler, scale.item(), what, hint)


def test_masters_are_float32_copies(rng):
    """The optimizer holds them in place of the model's parameters."""
    model = Weights(randn(rng, 3), randn(rng, 2, 4))
    masters = MasterWeights(model.parameters())
    expect_masters(masters, model)
    for number, (master, weight) in enumerate(zip(masters.masters, model.weights, strict=True)):
        expect_equal(
            master.detach(), weight.detach().float(), what=f"master {number}", hint="the parameter, as float32"
        )
        kept = weight.dtype == HALF and weight.requires_grad and isinstance(weight, nn.Parameter)
        expect(kept, f"parameter {number} should stay a float16 parameter, but is {describe(weight)}")
    model.weights[0].requires_grad_(False)
    expect_masters(MasterWeights(model.parameters()), model)  # a frozen one has a master as well


def test_take_gradients_hands_them_over_in_float32():
    """As they are: the scale is taken out later, by the scaler."""
    model = Weights(numbers(1, 2), numbers(3))
    masters = MasterWeights(model.parameters())
    slope_loss(model, [numbers(0.5, -4), numbers(7)]).backward()
    masters.take_gradients()
    expect_masters(masters, model)
    for number, want in enumerate(([0.5, -4.0], [7.0])):
        grad = masters.masters[number].grad
        what = f"the gradient of master {number} after take_gradients, where the parameter's is {want},"
        expect_close(grad, torch.tensor(want), what=what, hint="master.grad = param.grad.float()")


def test_write_back_rounds_masters_into_the_parameters():
    """1 + 2^-11 lies half-way between two neighbours in float16, 1 and 1 + 2^-10; 1.0006 is nearer to the second."""
    model = Weights(numbers(1, 2), numbers(3))
    masters = MasterWeights(model.parameters())
    weights = list(model.weights)
    with torch.no_grad():
        masters.masters[0].copy_(torch.tensor([1.0006, -7.0]))
    expect_equal(weights[0].detach(), numbers(1, 2, dtype=HALF), what="a parameter before write_back", hint="a copy")
    masters.write_back()
    same = all(new is old for new, old in zip(model.weights, weights, strict=True))
    expect(same, "the model should keep its Parameter objects in write_back", hint="param.copy_(master), under no_grad")
    for number, want in enumerate((numbers(1 + 2**-10, -7, dtype=HALF), numbers(3, dtype=HALF))):
        what = f"parameter {number} after write_back"
        expect_equal(weights[number].detach(), want, what=what, hint="copy_ of the master rounds to float16")


def test_a_step_of_a_worked_example():
    """Weights [1, 2] and 5, slopes [0.5, -1] and 2, SGD with lr=1: the loss is 0.5 - 2 + 10, the norm sqrt(5.25)."""
    run = trained(numbers(1, 2), numbers(5))
    result = stepped(run, [numbers(0.5, -1), numbers(2)])
    expect_weights(run, [0.5, 3], [3], what="after a step with the gradients [0.5, -1] and [2], lr=1,", hint=ORDER)
    expect_number(result.loss, 8.5, "the loss of the step", hint="the loss as it is, not times the scale")
    expect_number(result.grad_norm, 5.25**0.5, "grad_norm", hint="of all gradients together, after unscaling")
    expect_equal(result.skipped, False, what="skipped, where all is finite,")
    expect_scale(run.scaler, 8, "the scale after one good step of 2000", hint="it grows after growth_interval of them")


ORDER = "scaled backward, take, unscale, look for inf, clip, step, write back, update"


@pytest.mark.parametrize("scale", [1.0, 16.0, 1024.0])
def test_the_scale_changes_no_weight(rng, scale):
    """Powers of two multiply and divide exactly, so nothing may depend on the scale while nothing over- or underflows.
    Momentum and weight decay belong to the optimizer; they see true gradients and float32 weights."""
    options = {"lr": 0.125, "momentum": 0.5, "weight_decay": 0.25}
    runs = [trained(numbers(1, 2), numbers(5), options=options, init_scale=init) for init in (1.0, scale)]
    for step in range(3):
        slopes = [(randint(rng, -8, 9, size) / 4).float() for size in (2, 1)]
        want, got = [stepped(run, slopes) for run in runs]
        what = f"at scale {scale:g}, in step {step + 1}, against scale 1,"
        expect_number(got.grad_norm, want.grad_norm, f"grad_norm {what}", hint="unscale before you look at the norm")
        expect_number(got.loss, want.loss, f"the loss {what}", hint="report the loss that was not scaled")
        masters = [master.detach() for master in runs[0].masters.masters]
        expect_weights(runs[1], *masters, what=what, hint=ORDER, rtol=0.0, atol=0.0)
