"""Stage 1. The mask, the advantages of groups, the three estimates, clipped tokens."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, numbers, randn
from katas.grpo_loss import completion_mask, group_advantages, grpo_loss, kl_estimate

from .helpers import MIN, at_ratio, each_token, masks, rollout, table

LOG2 = math.log(2)
GROUP = "reshape to [groups, group_size]: mean and std over the last dimension, keepdim=True"


@pytest.mark.parametrize("place", range(5))
def test_the_first_eos_is_the_last_token_that_counts(place):
    """The policy chose to stop, so the EOS is an action like any other, and is trained. What follows it is not."""
    tokens = table((7, 4, 9, 3, 5))
    tokens[0, place] = 2
    got = completion_mask(tokens, [2])
    hint = "True up to and including the EOS: count how many EOS stand before each token"
    want = (torch.arange(5) <= place)[None]
    expect_equal(got, want, what=f"the mask of the tokens {tokens.tolist()[0]} with EOS 2", hint=hint)


def test_a_row_without_an_eos_counts_throughout():
    """It was cut off at the maximum length. Its neighbours are as before."""
    got = completion_mask(table((7, 4, 9, 3), (5, 2, 6, 6), (4, 4, 1, 8)), [2])
    want = masks((1, 1, 1, 1), (1, 1, 0, 0), (1, 1, 1, 1))
    hint = "argmax over a row without an EOS is 0, which is not its place; rows do not depend on each other"
    expect_equal(got, want, what="the mask of three rows, of which the middle one has EOS 2 at place 1", hint=hint)


def test_worked_advantages():
    """Two groups of three: [2, 4, 6] has mean 4 and std 2, [1, 1, 4] has mean 2 and std sqrt(3)."""
    got = group_advantages(numbers(2, 4, 6, 1, 1, 4), 3)
    want = torch.cat([numbers(-2, 0, 2) / (2 + 1e-4), numbers(-1, -1, 2) / (3**0.5 + 1e-4)])
    hint = GROUP + "; the unbiased std, plus eps, which is 1e-4 by default"
    expect_close(got, want, what="group_advantages([2, 4, 6, 1, 1, 4], group_size=3)", hint=hint)


def test_groups_are_adjacent_and_do_not_see_each_other(rng):
    """Three groups of four, against each alone. Statistics over the batch would make an easy prompt's answers good and a
    hard one's bad, whatever the policy did."""
    rewards = randn(rng, 12) + torch.arange(3).repeat_interleave(4)
    want = torch.cat([group_advantages(rewards[i : i + 4], 4) for i in (0, 4, 8)])
    what = "the advantages of 3 groups of 4, against each group alone"
    expect_close(group_advantages(rewards, 4), want, what=what, hint=GROUP)


def test_eps_is_added_to_the_standard_deviation():
    """[2, 4, 6] with eps = 2: 2 / (2 + 2). Inside a root it would be 2 / sqrt(4 + 2)."""
    got = group_advantages(numbers(2, 4, 6), 3, eps=2.0)
    hint = "divide by std + eps"
    expect_close(got, numbers(-0.5, 0, 0.5), what="group_advantages([2, 4, 6], 3, eps=2)", hint=hint)


def test_without_scale_only_the_mean_is_subtracted():
    """Dr. GRPO: the std would weigh a prompt up whose answers are nearly all right, or nearly all wrong."""
    got = group_advantages(numbers(2, 4, 6, 1, 1, 4), 3, scale=False, eps=0.5)
    what = "group_advantages([2, 4, 6, 1, 1, 4], 3, scale=False, eps=0.5)"
    expect_close(got, numbers(-2, 0, 2, -1, -1, 2), what=what, hint="reward - mean, divided by nothing")


@pytest.mark.parametrize(("kind", "want"), [("k1", LOG2), ("k2", LOG2**2 / 2), ("k3", 0.5 - 1 + LOG2)])
def test_worked_estimates(kind, want):
    """The policy gives a token 1/2, the reference 1/4: k1 is log 2. And the other way round."""
    got = kl_estimate(numbers(-LOG2, -2 * LOG2), numbers(-2 * LOG2, -LOG2), kind)
    other = {"k1": -LOG2, "k2": want, "k3": 2 - 1 - LOG2}[kind]
    hint = "k1 = log_probs - reference, k2 = k1^2 / 2, k3 = exp(-k1) - 1 + k1"
    what = f"{kind} at log_probs log [1/2, 1/4] and reference log [1/4, 1/2]"
    expect_close(got, numbers(want, other), what=what, hint=hint)


def test_k1_and_k3_have_the_mean_of_the_divergence(rng):
    """Averaged over all 6 tokens of a small vocabulary with the policy's own probabilities, both are KL(policy ||
    reference), and k3 is never negative. k2 is not unbiased."""
    policy, reference = (randn(rng, 6).log_softmax(-1) for _ in range(2))
    want = (policy.exp() * (policy - reference)).sum()
    for kind in ("k1", "k3"):
        got = (policy.exp() * kl_estimate(policy, reference, kind)).sum()
        expect_close(
            got, want, what=f"the mean of {kind} over all tokens", hint="the ratio in k3 is reference / policy"
        )


@pytest.mark.parametrize(
    ("ratio", "advantage", "want"),
    [(1.1, 2.0, -2.2), (1.5, 2.0, -2.4), (0.5, 2.0, -1.0), (0.9, -1.0, 0.9), (0.5, -1.0, 0.8), (1.5, -1.0, 1.5)],
)
def test_the_worse_of_the_clipped_and_the_unclipped_counts(ratio, advantage, want):
    """A token that became likelier by 1.5 earns 1.2 times its advantage and no more; one that should have become rarer,
    and became likelier, pays in full."""
    got = at_ratio(ratio, advantage)
    what = f"the loss of one token with ratio {ratio} and advantage {advantage:g}"
    expect_close(got, numbers(want)[0], what=what, hint=MIN)


@pytest.mark.parametrize(("ratio", "advantage", "want"), [(1.35, 1.0, -1.35), (1.5, 1.0, -1.4), (0.5, -1.0, 0.9)])
def test_the_two_clips_are_apart(ratio, advantage, want):
    """DAPO's clip-higher: 0.1 below, 0.4 above."""
    got = at_ratio(ratio, advantage, clip_low=0.1, clip_high=0.4)
    what = f"the loss at ratio {ratio} and advantage {advantage:g} with clip_low=0.1 and clip_high=0.4"
    expect_close(got, numbers(want)[0], what=what, hint="clip(r, 1 - clip_low, 1 + clip_high)")


def test_tokens_of_a_row_are_clipped_one_by_one():
    """Ratios of 0.5 and 1.5 and an advantage of 1 earn 0.5 and 1.2. A ratio of whole answers, a product or a mean,
    would clip all tokens at once or none: that is GSPO."""
    old = numbers(-2, -2).reshape(1, 2)
    got = grpo_loss(old + numbers(0.5, 1.5).log(), old, numbers(1), torch.ones(1, 2).bool())
    what, hint = "the loss of a row with ratios 0.5 and 1.5 and advantage 1", "exp before any sum over tokens"
    expect_close(got, numbers(-0.85)[0], what=what, hint=hint)


def test_each_token_has_a_ratio_of_its_own(rng):
    """2 answers of 3 tokens, against the mean of the tokens' losses."""
    log_probs, old, advantages, _ = rollout(rng, 2, 3)
    got = grpo_loss(log_probs, old, advantages, torch.ones(2, 3).bool())
    want = each_token(log_probs, old, advantages).mean()
    hint = "exp before any sum over tokens; advantages[:, None] is the same for all tokens of a row"
    expect_close(got, want, what="the loss of 2 rows of 3 tokens, against the mean of the tokens alone", hint=hint)


def test_the_loss_on_policy_is_minus_the_mean_advantage():
    """Every ratio is 1, so nothing is clipped. Three answers of two tokens."""
    old = numbers(-3, -1, -2, -5, -1, -4).reshape(3, 2)
    got = grpo_loss(old.clone(), old, numbers(4, -1, 6), torch.ones(3, 2).bool())
    hint = "a positive advantage is to be made likelier: a negative cost"
    expect_close(got, numbers(-3)[0], what="the loss where every ratio is 1 and the mean advantage is 3", hint=hint)


@pytest.mark.parametrize("beta", [0.25, 3.0])
def test_beta_weighs_k3_against_the_reference(beta):
    """A token of ratio 1 and advantage 2, which the policy gives 1/2 and the reference 1/4, or 1/8 and 1/4."""
    ones = torch.ones(1, 1).bool()
    for policy, k3 in ((-LOG2, 0.5 - 1 + LOG2), (-3 * LOG2, 2 - 1 - LOG2)):
        given = torch.full((1, 1), policy).double()
        reference = torch.full((1, 1), -2 * LOG2).double()
        got = grpo_loss(given, given.clone(), numbers(2), ones, reference=reference, beta=beta)
        what = f"the loss at ratio 1, advantage 2, log_probs {policy:.4f}, reference {-2 * LOG2:.4f}, beta={beta}"
        hint = "-min(...) + beta * k3 of log_probs and reference, not of old_log_probs"
        expect_close(got, numbers(-2 + beta * k3)[0], what=what, hint=hint)


@pytest.mark.parametrize(("ratio", "advantage"), [(2.0, 1.0), (0.5, -1.0), (2.0, -1.0), (0.5, 1.0)])
def test_the_divergence_is_not_clipped(ratio, advantage):
    """k3 is added to every token's cost, whether its ratio is clipped or not, and not multiplied by the advantage."""
    got = at_ratio(ratio, advantage, reference=torch.full((1, 1), -2.0).double(), beta=0.5)
    plain = at_ratio(ratio, advantage)
    want = numbers(plain.item() + 0.5 * (1 / ratio - 1 + math.log(ratio)))[0]
    what = f"the loss at ratio {ratio}, advantage {advantage:g}, beta=0.5, where the reference is the old policy"
    expect_close(got, want, what=what, hint="the costs of the policy first, then + beta * k3")


def test_beta_0_needs_no_reference(rng):
    """And it ignores one: DAPO and many others train without."""
    *given, reference = rollout(rng, 2, 3)
    mask = torch.ones(2, 3).bool()
    want = grpo_loss(*given, mask)
    got = grpo_loss(*given, mask, reference=reference)
    expect_close(got, want, what="the loss with a reference and the default beta of 0, against that without")
