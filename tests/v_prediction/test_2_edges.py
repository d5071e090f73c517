"""Stage 2. Mixed batches, any shape, schedules that end in pure noise, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, numbers, randn
from dojo.testing.diffusion import FINE, SHAPES, SIX
from katas.v_prediction import loss_weight, prediction_target, to_eps, to_x0, weighted_loss, zero_terminal_snr

from .helpers import ABAR, CONVERSIONS, INF, KINDS, VIDEO, T, at, diffused

FUNCTIONS = {"prediction_target": prediction_target, **CONVERSIONS}
OTHER_KINDS = ["epsilon", "velocity", "sample", "V", "e", ""]


@pytest.mark.parametrize("shape", [*SHAPES, VIDEO], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_element_of_a_batch_has_a_step_of_its_own(rng, name, shape):
    """Scalars, vectors, images, and batch == width, where a t that was not reshaped broadcasts along the wrong axis."""
    a, b = randn(rng, 2, *shape)
    for kind in KINDS:
        with called_for(f"{name} of shape {list(shape)} and kind {kind!r}", hint="any rank: [batch, 1, ..., 1]"):
            got = FUNCTIONS[name](a, b, T, SIX, kind)
            rows = [FUNCTIONS[name](a[i : i + 1], b[i : i + 1], T[i : i + 1], SIX, kind) for i in range(6)]
        what = (
            f'{name}(kind="{kind}") of a batch of shape {list(shape)} with t={T.tolist()}, beside its rows one by one,'
        )
        hint = "each row has a t of its own: reshape the coefficients to [batch, 1, ..., 1]"
        expect_close(got, torch.cat(rows), what=what, hint=hint)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_belong_to_their_steps(kind):
    """In the order of t, and as often as a step comes; one weight for each element of the batch."""
    table = loss_weight(torch.arange(6), SIX, kind, 3)  # gamma may be an int
    got = loss_weight(T, SIX, kind, 3)
    what = f'loss_weight(t={T.tolist()}, abar of 6 steps, "{kind}", gamma=3), beside those of all steps,'
    expect_close(got, table[T], what=what, hint="look abar up at t")
    got, what = loss_weight(at(4), SIX, kind, 3), f'loss_weight(t=[4], abar of 6 steps, "{kind}", gamma=3)'
    expect_close(got, table[4:5], what=what, hint="a weight does not depend on its neighbours: nothing is normalised")


@pytest.mark.parametrize("shape", [*SHAPES, VIDEO], ids=str)
def test_a_weight_belongs_to_its_sample(rng, shape):
    """The loss of a batch is the mean of the losses of its samples, each alone with its weight."""
    prediction, target = randn(rng, 2, *shape)
    weight = numbers(1, 0, 3, 0.5, 10, 2)
    with called_for(f"predictions of shape {list(shape)}", hint="any number of dimensions after the batch, also none"):
        got = weighted_loss(prediction, target, weight)
        alone = [weighted_loss(prediction[i : i + 1], target[i : i + 1], weight[i : i + 1]) for i in range(6)]
    what = (
        f"weighted_loss of shape {list(shape)} with weights {weight.tolist()}, beside the mean of its samples' losses,"
    )
    hint = "one mean for each sample, [batch], before the weights; [batch] against [batch, width] is the wrong axis"
    expect_close(got, torch.stack(alone).mean(), what=what, hint=hint)


def test_doubled_weights_double_the_loss(rng):
    """Weights are no distribution: nothing divides by their sum, and where all are 0 the loss is 0."""
    prediction, target = randn(rng, 2, 3, 4)
    weight = numbers(1, 2, 0.5)
    plain = weighted_loss(prediction, target, torch.ones(3).double())
    what, hint = "weighted_loss with weights of 1, beside the mean of the squared errors,", "divide by the batch"
    expect_close(plain, (prediction - target).square().mean(), what=what, hint=hint)
    once = weighted_loss(prediction, target, weight)
    for times in (2.0, 0.0):
        got, what = weighted_loss(prediction, target, times * weight), f"weighted_loss with {times:g} times the weights"
        expect_close(got, times * once, what=what, hint="divide by the number of samples, not by the sum of weights")


def test_v_is_the_noise_at_the_start_and_minus_the_data_at_the_end():
    """At abar = 1 there is no noise in x_t, and the model is asked for it; at abar = 0 there are no data."""
    got = prediction_target(numbers(3, 3), numbers(2, 2), at(0, 1), numbers(1, 0), "v")
    what = 'prediction_target(x0=3, noise=2, t=[0, 1], abar=[1, 0], "v")'
    expect_close(got, numbers(2, -3), what=what, hint="noise at abar = 1, -x0 at abar = 0")


def test_v_survives_pure_noise_and_clean_data():
    """At abar = 0 x_t is the noise (2) and v = -3; at abar = 1 x_t is the data (3) and v = 2. A way over the other
    prediction divides 0 by 0 at one end."""
    x_t, v = numbers(3, 2), numbers(2, -3)
    for name, right in (("to_x0", numbers(3, 3)), ("to_eps", numbers(2, 2))):
        got = CONVERSIONS[name](x_t, v, at(0, 1), numbers(1, 0), "v")
        what = f'{name}(x_t=[3, 2], prediction=[2, -3], t=[0, 1], abar=[1, 0], "v")'
        hint = "v needs no division: sums of x_t and v, with the two roots as weights"
        expect_close(got, right, what=what, hint=hint)


def test_the_other_kinds_survive_where_they_are_defined():
    """x0 is x0 in pure noise, and then x_t is the noise; the noise is the noise in clean data, which are x0. In a batch
    one hopeless element raises nothing and leaves the others alone."""
    ends = numbers(1, 0)
    got = to_x0(numbers(2, 3), numbers(7, 7), at(1, 0), ends, "x0"), to_eps(numbers(2), numbers(7), at(1), ends, "x0")
    expect_close(got[0], numbers(7, 7), what='to_x0(prediction=7, abar=[0, 1], "x0")', hint="the prediction itself")
    expect_close(got[1], numbers(2), what='to_eps(x_t=2, abar=0, "x0")', hint="at abar = 0 x_t is the noise")
    got = to_eps(numbers(2, 3), numbers(7, 7), at(1, 0), ends, "eps"), to_x0(numbers(3), numbers(7), at(0), ends, "eps")
    expect_close(got[0], numbers(7, 7), what='to_eps(prediction=7, abar=[0, 1], "eps")', hint="the prediction itself")
    expect_close(got[1], numbers(3), what='to_x0(x_t=3, abar=1, "eps")', hint="at abar = 1 x_t is x0")
    for name, kind, t in (("to_x0", "eps", at(1, 0)), ("to_eps", "x0", at(0, 1))):
        what = f'{name}(kind="{kind}") of a batch whose first element has no answer'
        with called_for(what, hint="an answer that is not defined is infinity or NaN, no error"):
            got = CONVERSIONS[name](numbers(2, 3), numbers(7, 7), t, ends, kind)
        expect_close(got[1:], numbers(3), what=f"the second element of {what}")


@pytest.mark.parametrize("gamma", [0.5, 5.0, INF])
@pytest.mark.parametrize(("kind", "weight"), [("eps", 1.0), ("x0", 0.0), ("v", 0.0)])
def test_weights_in_pure_noise(kind, weight, gamma):
    """At snr = 0 the weight of the noise is min(snr, gamma) / snr = 0 / 0, which is 1 below gamma. x0 and v count 0."""
    got = loss_weight(at(2, 1, 2), numbers(0.8, 0.3, 0), kind, gamma)[::2]
    what = f'loss_weight(abar=0, "{kind}", gamma={gamma})'
    expect_close(got, numbers(weight, weight), what=what, hint="as snr falls to 0 it is the smaller one, for any gamma")


def test_the_schedule_ends_in_pure_noise():
    """Exactly, not at 1e-8; and the first step stays, up to rounding: it is what a finetuned model knows best."""
    got = zero_terminal_snr(FINE)
    expect_equal(got[-1].item(), 0.0, what="the last entry of zero_terminal_snr", hint="root - root[-1] is 0 exactly")
    hint = "scale by the first root over the first root after the shift"
    expect_close(got[:1], FINE[:1], what="the first entry of zero_terminal_snr", hint=hint)
    falls = bool((got[1:] < got[:-1]).all())
    expect(
        falls, "zero_terminal_snr of a falling schedule should fall, but rises somewhere", hint="one shift, one scale"
    )


def test_the_roots_keep_their_proportions():
    """A shift and a scale keep ratios of differences: of roots, not of abar. A schedule that ends in 0 stays, and one of two
    steps is the first and 0."""
    for schedule in (SIX, FINE[::100]):
        old, new = schedule.sqrt().diff(), zero_terminal_snr(schedule).sqrt().diff()
        what = "differences of roots of zero_terminal_snr, divided by the first of them, beside the old schedule's,"
        expect_close(new / new[0], old / old[0], what=what, hint="shift and scale sqrt(abar), then square")
    for schedule, right in ((numbers(0.9, 0.4, 0), numbers(0.9, 0.4, 0)), (numbers(0.9, 0.4), numbers(0.9, 0))):
        expect_close(zero_terminal_snr(schedule), right, what=f"zero_terminal_snr({schedule.tolist()})")


def test_v_is_trained_and_read_on_a_schedule_that_ends_in_pure_noise(rng):
    """The whole way: the changed schedule, targets and conversions at every step. The noise alone would not do."""
    x0, noise = randn(rng, 2, 6, 5)
    schedule, t = zero_terminal_snr(SIX), torch.arange(6)
    target = prediction_target(x0, noise, t, schedule, "v")
    got = to_x0(diffused(x0, noise, t, schedule), target, t, schedule, "v")
    expect_close(got, x0, what="to_x0 of the target of v at each step of zero_terminal_snr", hint="nothing is divided")


@pytest.mark.parametrize("kind", OTHER_KINDS)
def test_other_kinds_raise(kind):
    x = numbers(1, 2)
    hint = 'exactly "eps", "x0" or "v"; check it first'
    for name, function in FUNCTIONS.items():
        with expect_raises(ValueError, what=f"{name} with kind={kind!r}", hint=hint):
            function(x, x, at(0, 1), ABAR, kind)
    for gamma in (None, 5.0):
        with expect_raises(ValueError, what=f"loss_weight with kind={kind!r}, gamma={gamma}", hint=hint):
            loss_weight(at(0, 1), ABAR, kind, gamma)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_shapes_that_do_not_match_raise(rng, name, kind):
    """They would broadcast in silence, also for the kinds that return an argument."""
    for other in ([4, 1], [1, 3], [3], [3, 4], [4, 3, 1]):
        with expect_raises(ValueError, what=f"{name} of shapes [4, 3] and {other}, kind={kind!r}"):
            FUNCTIONS[name](randn(rng, 4, 3), randn(rng, *other), torch.zeros(4).long(), SIX, kind)
    for shape in ([1], [3], [4, 1], [4, 3], []):
        with expect_raises(ValueError, what=f"{name} of [4, 3] with t of shape {shape}, kind={kind!r}"):
            FUNCTIONS[name](randn(rng, 4, 3), randn(rng, 4, 3), torch.zeros(shape).long(), SIX, kind)


def test_the_loss_of_shapes_that_do_not_match_raises(rng):
    """[batch] against [batch, 1] is [batch, batch], and its mean is a number like any other."""
    for other in ([4, 1], [1, 3], [3, 4], [3], [4, 3, 1]):
        with expect_raises(ValueError, what=f"weighted_loss of predictions of [4, 3] and targets of {other}"):
            weighted_loss(randn(rng, 4, 3), randn(rng, *other), torch.ones(4))
    for shape in ([1], [3], [4, 1], [4, 3], []):
        with expect_raises(ValueError, what=f"weighted_loss of [4, 3] with weights of {shape}"):
            weighted_loss(randn(rng, 4, 3), randn(rng, 4, 3), torch.ones(shape))


@pytest.mark.parametrize("gamma", [0, 0.0, -1.0, -INF, float("nan")])
def test_a_gamma_that_is_not_positive_raises(gamma):
    for kind in KINDS:
        with expect_raises(ValueError, what=f'loss_weight("{kind}", gamma={gamma})', hint="`if gamma` lets 0 through"):
            loss_weight(at(0, 1), ABAR, kind, gamma)


def test_a_schedule_of_fewer_than_two_steps_raises():
    for schedule in (numbers(0.9), numbers(), numbers(0.0)):
        with expect_raises(ValueError, what=f"zero_terminal_snr({schedule.tolist()})"):
            zero_terminal_snr(schedule)
