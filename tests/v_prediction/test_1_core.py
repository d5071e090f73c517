"""Stage 1. Targets, conversions, weights, the loss."""

import pytest
import torch

from dojo.testing import expect_close, numbers, randn
from dojo.testing.diffusion import SIX
from katas.v_prediction import loss_weight, prediction_target, to_eps, to_x0, weighted_loss, zero_terminal_snr

from .helpers import ABAR, ANSWERS, CONVERSIONS, INF, KINDS, WAYS_BACK, X_T, at, diffused

ONE_LOSS = "how many times the squared error of x0 is that of this prediction? Divide min(snr, gamma) by it"


@pytest.mark.parametrize("kind", KINDS)
def test_the_targets_of_the_worked_example(kind):
    """At sqrt(abar) = 0.8 v is 0.8 x 2 - 0.6 x 3 = -0.2, at 0.6 it is 0.6 x 2 - 0.8 x 3 = -1.2."""
    hint = {
        "eps": "the noise, as it is",
        "x0": "the clean data, as they are",
        "v": "sqrt(abar) multiplies the noise, sqrt(1 - abar) the data, which are subtracted",
    }[kind]
    got = prediction_target(numbers(3, 3), numbers(2, 2), at(0, 1), ABAR, kind)
    what = f'prediction_target(x0=3, noise=2, t=[0, 1], abar=[0.64, 0.36], "{kind}")'
    expect_close(got, numbers(*ANSWERS[kind]), what=what, hint=hint)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CONVERSIONS)
def test_the_ways_back_of_the_worked_example(name, kind):
    """The same numbers, backwards: from x_t and the right prediction to x0 = 3 and noise = 2."""
    got = CONVERSIONS[name](numbers(*X_T), numbers(*ANSWERS[kind]), at(0, 1), ABAR, kind)
    what = f'{name}(x_t={X_T}, prediction={ANSWERS[kind]}, t=[0, 1], abar=[0.64, 0.36], "{kind}")'
    expect_close(got, numbers(*ANSWERS[name[3:]]), what=what, hint=WAYS_BACK[name, kind])


@pytest.mark.parametrize("kind", KINDS)
def test_conversions_undo_the_targets(rng, kind):
    """Also for data that no picture has, such as 50: nothing is clipped."""
    x0, noise = randn(rng, 2, 6, 4) * numbers(1, 1, 1, 50)
    t = torch.arange(6)
    x_t, target = diffused(x0, noise, t, SIX), prediction_target(x0, noise, t, SIX, kind)
    for name, right in (("to_x0", x0), ("to_eps", noise)):
        got = CONVERSIONS[name](x_t, target, t, SIX, kind)
        what = f'{name} of the target of "{kind}", beside what x_t was made of,'
        expect_close(got, right, what=what, hint=WAYS_BACK[name, kind])


@pytest.mark.parametrize(("kind", "weights"), [("x0", [2, 1, 0.25]), ("v", [0.4, 0.5, 0.2]), ("eps", [0.5, 1, 1])])
def test_the_weights_of_the_worked_example(kind, weights):
    """abar = [0.8, 0.5, 0.2] is snr = [4, 1, 0.25], and with gamma = 2 the squared error of x0 counts [2, 1, 0.25]. An
    error of 1 in x0 is one of 2 in the noise where the snr is 4."""
    got = loss_weight(at(0, 1, 2), numbers(0.8, 0.5, 0.2), kind, 2.0)
    what = f'loss_weight(t=[0, 1, 2], abar=[0.8, 0.5, 0.2], "{kind}", gamma=2)'
    hint = "min(snr, gamma), as it is" if kind == "x0" else ONE_LOSS
    expect_close(got, numbers(*weights), what=what, hint=hint)


@pytest.mark.parametrize("kind", KINDS)
def test_without_gamma_every_weight_is_1(kind):
    got = loss_weight(at(0, 1, 1), ABAR, kind)
    what = f'loss_weight(t=[0, 1, 1], abar=[0.64, 0.36], "{kind}") without gamma'
    expect_close(got, numbers(1, 1, 1), what=what, hint="gamma=None is no infinite gamma: the loss is unweighted")


def test_the_loss_of_the_worked_example():
    """Errors of [1, 3] and [2, 0] have means of squares of 5 and 2; weighted with 1 and 10 the mean is 12.5."""
    prediction, target = torch.tensor([[4.0, 5], [8, 7]]).double(), torch.tensor([[3.0, 2], [6, 7]]).double()
    got = weighted_loss(prediction, target, numbers(1, 10))
    what = "weighted_loss(prediction=[[4, 5], [8, 7]], target=[[3, 2], [6, 7]], weight=[1, 10])"
    hint = "a mean over each sample's elements, times its weight, and only then the mean over the batch"
    expect_close(got, torch.tensor(12.5).double(), what=what, hint=hint)


@pytest.mark.parametrize("gamma", [0.5, 5.0, INF])
def test_the_three_kinds_have_one_loss(rng, gamma):
    """One model, its answers read as x0, as noise and as v: the weighted loss must not depend on the reading. This is what the
    weights are for. SIX has snr from 9 to 0.06, above and below both gammas."""
    x0, noise, guess = randn(rng, 3, 6, 4)
    t = torch.arange(6)
    x_t = diffused(x0, noise, t, SIX)
    guesses = {"x0": guess, "eps": to_eps(x_t, guess, t, SIX, "x0")}
    guesses["v"] = prediction_target(guess, guesses["eps"], t, SIX, "v")
    losses = {}
    for kind, made in guesses.items():
        target, weight = prediction_target(x0, noise, t, SIX, kind), loss_weight(t, SIX, kind, gamma)
        losses[kind] = weighted_loss(made, target, weight)
    for kind in ("eps", "v"):
        what = f'the weighted loss of "{kind}" at gamma={gamma}, beside that of "x0" for the same model,'
        expect_close(losses[kind], losses["x0"], what=what, hint=ONE_LOSS)


def test_the_two_readings_of_a_v_agree_with_x_t(rng):
    """Whatever a model says, the data and the noise that it implies make up x_t again."""
    x_t, said = randn(rng, 2, 6, 3)
    t = torch.arange(6)
    got = diffused(to_x0(x_t, said, t, SIX, "v"), to_eps(x_t, said, t, SIX, "v"), t, SIX)
    what = 'sqrt(abar) to_x0 + sqrt(1 - abar) to_eps for any prediction of kind "v", beside x_t,'
    expect_close(got, x_t, what=what, hint="both invert the same two equations: look at the signs")


def test_the_schedule_of_the_worked_example():
    """Roots of [0.9, 0.6, 0.3] lose 0.3, and [0.6, 0.3, 0] times 0.9 / 0.6 is [0.9, 0.45, 0]."""
    got = zero_terminal_snr(numbers(0.81, 0.36, 0.09))
    hint = "subtract the last root from all of them, scale so that the first is what it was, and square"
    expect_close(got, numbers(0.81, 0.2025, 0), what="zero_terminal_snr([0.81, 0.36, 0.09])", hint=hint)
