"""Stage 1. The rewards, GAE of one episode, one clipped token, one clipped value, the entropy."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, numbers, randn
from katas.ppo import entropy, token_rewards, value_loss

from .helpers import clipped, episodes, estimates, full, masks, table

MINIMUM = "-min(r A, clamp(r, 1 - clip, 1 + clip) A): multiply by A first, then take the minimum"
MAXIMUM = "V' = clamp(V, old - clip, old + clip), and half the larger one of (V - R)^2 and (V' - R)^2"
DELTA = "delta = rewards[t] + gamma V[t + 1] - V[t]; advantages[t] = delta + gamma lam advantages[t + 1]"
AT_THE_END = table([0, 0, 1]).bool()


def test_the_score_comes_at_the_last_token():
    """The policy is the reference, so there is no penalty: the reward model has judged the whole response."""
    log_probs = table([-1, -2, -3, -4])
    got = token_rewards(numbers(3), log_probs, log_probs.clone(), full(1, 4), 0.1)
    hint = "the score is added once, to the last token"
    expect_close(got, table([0, 0, 0, 3]), what="the rewards of 4 tokens for a score of 3", hint=hint)


def test_a_worked_penalty():
    """A token that the policy likes more than the reference does is punished, one that it likes less is rewarded."""
    log_probs, reference = table([-1, -2, -3]), table([-3, -2, -2])
    got = token_rewards(numbers(10), log_probs, reference, full(1, 3), 0.5)
    hint = "-beta * (log_probs - reference) for each token, the last one included; the score is not multiplied by beta"
    expect_close(got, table([-1, 0, 10.5]), what="the rewards of 3 tokens at beta=0.5", hint=hint)


def test_each_row_has_its_own_score(rng):
    """3 responses of 5 tokens: each row adds up to its score minus beta times the sum of its log-ratios."""
    scores, log_probs, reference = randn(rng, 3), randn(rng, 3, 5), randn(rng, 3, 5)
    got = token_rewards(scores, log_probs, reference, full(3, 5), 0.3)
    expect_equal(list(got.shape), [3, 5], what="the shape of the rewards", hint="one reward for each token")
    want = scores - 0.3 * (log_probs - reference).sum(1)
    expect_close(got.sum(1), want, what="the sums of the rewards of 3 rows", hint="time is the last dimension")


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_a_single_step(lam):
    """Nothing follows, so lam has no part: the reward 1 and half of the value 6 after it, minus the value 3 before."""
    advantages, returns = estimates(table([1]), table([3]), masks([0]), numbers(6), gamma=0.5, lam=lam)
    what = f"of one step with reward 1, value 3, last value 6, gamma=0.5, lam={lam}"
    expect_close(advantages, table([1]), what=f"the advantage {what}", hint="r + gamma V[t + 1] - V[t]")
    expect_close(returns, table([4]), what=f"the return {what}", hint="returns = advantages + values")


def test_a_worked_episode():
    """Three steps, of which the last ends the episode. The deltas are -1/2, 5/2 and 1, the carry is a quarter."""
    given = table([1, 2, 4]), table([2, 1, 3]), AT_THE_END, numbers(0)
    advantages, returns = estimates(*given, gamma=0.5, lam=0.5)
    what = "of rewards [1, 2, 4] and values [2, 1, 3] with gamma=lam=0.5"
    expect_close(advantages, table([0.1875, 2.75, 1]), what=f"the advantages {what}", hint=DELTA)
    expect_close(returns, table([2.1875, 3.75, 4]), what=f"the returns {what}", hint="returns = advantages + values")


@pytest.mark.parametrize("gamma", [0.5, 1.0])
def test_lam_zero_is_the_error_of_one_step(rng, gamma):
    """With lam=0 each step trusts the value after it: A[t] + V[t] - r[t] is gamma V[t + 1]."""
    rewards, values, dones, last = episodes(rng, 2, 4)
    advantages, _ = estimates(rewards, values, dones, last, gamma=gamma, lam=0.0)
    got, want = advantages + values - rewards, gamma * torch.cat([values[:, 1:], last[:, None]], 1)
    expect_close(got, want, what=f"advantages + values - rewards at gamma={gamma}, lam=0", hint=DELTA)


def test_lam_one_is_the_discounted_sum_of_rewards(rng):
    """With lam=1 no value but the last one has a part in the returns: 1 + 2/2 + 4/4 + 8/8 = 4, and 16/16 from the end."""
    for values in (torch.zeros(1, 4).double(), 5 * randn(rng, 1, 4)):
        given = table([1, 2, 4, 8]), values, masks([0, 0, 0, 0]), numbers(16)
        advantages, returns = estimates(*given, gamma=0.5, lam=1.0)
        want, what = table([5, 8, 12, 16]), "of rewards [1, 2, 4, 8] and last value 16 with gamma=0.5, lam=1"
        expect_close(advantages, want - values, what=f"the advantages {what}", hint=DELTA)
        expect_close(returns, want, what=f"the returns {what}", hint="the values cancel: delta has - V[t], not + V[t]")


def test_no_discount_looks_nowhere(rng):
    """With gamma=0 only the present reward counts, whatever lam is."""
    rewards, values, dones, last = episodes(rng, 3, 4)
    advantages, returns = estimates(rewards, values, dones, last, gamma=0.0, lam=0.9)
    expect_close(advantages, rewards - values, what="the advantages at gamma=0", hint="gamma multiplies the carry too")
    expect_close(returns, rewards, what="the returns at gamma=0", hint="returns = advantages + values")


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95, 1.0])
def test_exact_values_leave_no_advantage(rng, lam):
    """If every value is the reward plus gamma times the next value, nothing is better than expected at any lam."""
    values, last = randn(rng, 2, 5), randn(rng, 2)
    rewards = values - 0.9 * torch.cat([values[:, 1:], last[:, None]], 1)
    advantages, returns = estimates(rewards, values, ~full(2, 5), last, lam=lam)
    expect_close(advantages, torch.zeros(2, 5).double(), what=f"the advantages of exact values, lam={lam}", hint=DELTA)
    expect_close(returns, values, what=f"the returns of exact values, lam={lam}", hint="returns = advantages + values")


TOKENS = [
    (1.0, 3.0, -3.0, 0), (1.1, 2.0, -2.2, 0), (0.9, -2.0, 1.8, 0), (1.5, 2.0, -2.4, 1), (0.5, 2.0, -1.0, 0),
    (1.5, -2.0, 3.0, 0), (0.5, -2.0, 1.6, 1), (1.5, 0.0, 0.0, 0),
]  # fmt: skip


@pytest.mark.parametrize(("ratio", "advantage", "cost", "bites"), TOKENS, ids=str)
def test_one_clipped_token(ratio, advantage, cost, bites):
    """The clip takes away what could be gained by going further, and never what can be lost: it bites at a large ratio
    with a positive advantage, and at a small one with a negative advantage."""
    loss, share = clipped(table([-2 + math.log(ratio)]), table([-2]), table([advantage]), full(1, 1))
    what = f"of a token with ratio {ratio} and advantage {advantage}"
    expect_close(loss, numbers(cost)[0], what=f"the loss {what}", hint=MINIMUM)
    hint = "the share of tokens whose clipped loss is larger than the unclipped one, not of all with |r - 1| > clip"
    expect_close(share, numbers(bites)[0], what=f"the clip fraction {what}", hint=hint)


@pytest.mark.parametrize("clip", [0.1, 0.5])
def test_the_clip_is_an_interval_around_one(clip):
    """At ratios of 4 and 1/4, on the sides where the clip bites."""
    log_probs, advantages = table([math.log(4), -math.log(4)]), table([1, -1])
    for i, want in enumerate((-1 - clip, 1 - clip)):
        given = log_probs[:, i : i + 1], table([0]), advantages[:, i : i + 1], full(1, 1)
        what = f"the loss of ratio {(4, 0.25)[i]} and advantage {(1, -1)[i]} at clip={clip}"
        expect_close(clipped(*given, clip=clip)[0], numbers(want)[0], what=what, hint=MINIMUM)


def test_at_ratio_one_the_loss_is_minus_the_mean_advantage(rng):
    """The first step after sampling: log_probs and old_log_probs are equal. The tokens' losses are averaged."""
    log_probs, advantages = randn(rng, 2, 5), randn(rng, 2, 5)
    loss, share = clipped(log_probs, log_probs.clone(), advantages, full(2, 5))
    expect_close(loss, -advantages.mean(), what="the loss at ratio 1", hint="the mean over tokens, with a minus")
    expect_close(share, numbers(0)[0], what="the clip fraction at ratio 1", hint="nothing is clipped there")


def test_every_token_has_its_own_ratio():
    """A ratio of 2 and one of 1/2: their product is 1, so that the ratio of the whole response would never be clipped."""
    loss, share = clipped(table([math.log(2), -math.log(2)]), table([0, 0]), table([1, 1]), full(1, 2))
    expect_close(loss, numbers(-0.85)[0], what="the loss of ratios [2, 1/2], advantages 1", hint="(1.2 + 0.5) / 2")
    expect_close(share, numbers(0.5)[0], what="the clip fraction of ratios [2, 1/2]", hint="1 token of 2")


VALUES = [
    (4.0, 2.0, 3.0, 0.5), (3.0, 2.0, 3.25, 0.28125), (1.0, 2.0, 0.75, 0.28125), (2.25, 2.0, 4.0, 1.53125),
    (-2.0, -1.0, -0.75, 0.78125), (-2.0, -1.0, -3.0, 1.125),
]  # fmt: skip


@pytest.mark.parametrize(("value", "old", "target", "want"), VALUES, ids=str)
def test_one_clipped_value(value, old, target, want):
    """At clip=0.5. A value that has moved further than that towards its target gets no credit for the rest of the way."""
    got = value_loss(table([value]), table([old]), table([target]), full(1, 1), 0.5)
    what = f"the value loss of V={value}, old={old}, R={target} at clip=0.5"
    expect_close(got, numbers(want)[0], what=what, hint=MAXIMUM)


def test_the_value_clip_by_default_and_without_it():
    """V=4, old=3, R=4: by default V' is 3.2, and clip=None is half the squared error, 0."""
    given = table([4]), table([3]), table([4]), full(1, 1)
    expect_close(value_loss(*given), numbers(0.32)[0], what="the value loss by default", hint="clip=0.2")
    hint = "half the mean squared error"
    expect_close(value_loss(*given, None), numbers(0)[0], what="the value loss with clip=None", hint=hint)


def test_the_value_loss_is_a_mean(rng):
    """6 values, against each alone. In some the clipped value is worse, in some the unclipped one."""
    given = [randn(rng, 2, 3) for _ in range(2)]
    given = given[0] + table([1, -1, 0.1], [1, 1, -1]), given[0], given[0] + table([2, 1, 1], [-1, 2, -3])
    each = [value_loss(*(x[i : i + 1, j : j + 1] for x in given), full(1, 1)) for i in range(2) for j in range(3)]
    got, plain = value_loss(*given, full(2, 3)), value_loss(*given, full(2, 3), None)
    hint = "the larger error of each token, then the mean"
    expect_close(got, torch.stack(each).mean(), what="the value loss of 6 values, against each alone", hint=hint)
    want = (given[0] - given[2]).square().mean() / 2
    expect_close(plain, want, what="the value loss with clip=None", hint="half the mean squared error")


@pytest.mark.parametrize("parts", [(1, 1), (1, 1, 2), (3, 3, 3, 3, 3), (4,), (2, 6)], ids=str)
def test_the_entropy_of_one_distribution(parts):
    """log n where n choices are equally likely, 0 where there is no choice, 3/2 log 2 for 1/4, 1/4, 1/2. A constant
    added to all logits changes nothing."""
    probs = [part / sum(parts) for part in parts]
    want = -sum(p * math.log(p) for p in probs)
    for shift in (0.0, 3.0):
        got = entropy(table(parts).log()[None] + shift, full(1, 1))
        what = f"the entropy of [{', '.join(f'{p:g}' for p in probs)}]"
        expect_close(got, numbers(want)[0], what=what, hint="minus the sum of p log p, with the natural logarithm")


def test_the_entropy_is_a_mean_over_positions(rng):
    """Two rows of three positions over a vocabulary of 4, against each position alone."""
    logits = 2 * randn(rng, 2, 3, 4)
    each = [entropy(logits[i : i + 1, j : j + 1], full(1, 1)) for i in range(2) for j in range(3)]
    hint = "sum over the vocabulary, mean over the positions"
    got = entropy(logits, full(2, 3))
    expect_close(got, torch.stack(each).mean(), what="the entropy of 6 positions, against each alone", hint=hint)
