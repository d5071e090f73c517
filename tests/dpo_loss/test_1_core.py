"""Stage 1. The log-probability of a response, the loss, the rewards."""

import math
from itertools import product

import pytest
import torch

from dojo.testing import expect_close, expect_equal, numbers, randn
from katas.dpo_loss import sequence_log_probs

from .helpers import ALIGN, dpo, each_token, masks, of_margin, pairs, responses, table

LOGITS = torch.tensor([[[1.0, 2, 5], [2, 2, 4], [5, 2, 1], [1, 6, 1]]]).double().log()  # rows add up to 8


SUM = "log_softmax at each position, of it the element of the next token, and the sum over the scored tokens"


@pytest.mark.parametrize(("token", "probability"), [(0, 1 / 8), (1, 2 / 8), (2, 5 / 8)])
def test_a_token_is_predicted_by_the_position_before(token, probability):
    """A prompt of one token and a response of one: the first position's logits, log [1, 2, 5], are about the second."""
    got = sequence_log_probs(LOGITS[:, :2], table((1, token)), masks((0, 1)))
    what = f"the log-probability of the response [{token}] to the prompt [1]"
    hint = "the token's logit minus the log-sum-exp of its position. " + ALIGN
    expect_close(got, numbers(math.log(probability)), what=what, hint=hint)


@pytest.mark.parametrize(
    ("tokens", "probability"), [((1, 2, 1, 0), 5 / 8 * 2 / 8 * 5 / 8), ((0, 0, 2, 2), 1 / 8 * 4 / 8 * 1 / 8)], ids=str
)
def test_a_worked_log_probability(tokens, probability):
    """The probabilities of three tokens, each under the logits of the position before: their product's logarithm."""
    got = sequence_log_probs(LOGITS, table(tokens), masks((0, 1, 1, 1)))
    what = f"the log-probability of the last three of the tokens {list(tokens)}"
    expect_close(got, numbers(math.log(probability)), what=what, hint=SUM)


def test_the_probabilities_of_all_responses_add_up_to_one(rng):
    """A random model over 3 tokens, whose logits depend on the place and on the token before: 27 responses of 3 tokens.
    Whatever is shifted wrongly, left out or averaged, the sum is another."""
    model, tokens = randn(rng, 4, 3, 3), table(*((1, *rest) for rest in product(range(3), repeat=3)))
    logits = model[torch.arange(4), tokens]  # [27, 4, 3]
    got = sequence_log_probs(logits, tokens, masks((0, 1, 1, 1)).expand(27, -1))
    expect_equal(getattr(got, "shape", None), torch.Size([27]), what="the result's shape", hint="one number per row")
    expect_close(got.exp().sum(), numbers(1)[0], what="the sum of exp(log-probability)", hint=ALIGN)


def test_the_log_probability_is_a_sum_over_the_tokens(rng):
    """The ratio of policy and reference is of whole sequences. A mean would make a margin of pairs that differ in length
    no difference of rewards."""
    logits, tokens, _ = responses(rng, 3, 7, 4)
    mask = masks((0, 1, 1, 1, 1, 1, 1)).expand(3, -1)
    got = sequence_log_probs(logits, tokens, mask)
    hint = "sum over the scored tokens of a row; do not divide by their number"
    want = each_token(logits, tokens).sum(1)
    expect_close(got, want, what="the log-probability, against those of its tokens", hint=hint)


def test_each_row_has_its_own_response(rng):
    """3 rows of 5 tokens over a vocabulary of 4, against each row alone."""
    logits, tokens, _ = responses(rng, 3, 5, 4)
    mask = masks((0, 1, 1, 1, 1)).expand(3, -1)
    want = torch.cat([sequence_log_probs(logits[i : i + 1], tokens[i : i + 1], mask[i : i + 1]) for i in range(3)])
    got = sequence_log_probs(logits, tokens, mask)
    expect_close(got, want, what="the log-probabilities of 3 rows, against each row alone", hint="dim=-1 in both sums")


@pytest.mark.parametrize(("margin", "odds"), [(math.log(3), 4 / 3), (-math.log(3), 4.0)], ids=["right", "wrong"])
def test_a_worked_loss(margin, odds):
    """With the default beta of 0.1, log-ratios of 5 + 10 log 3 and 5 have a margin of log 3: sigmoid gives 3/4."""
    got = dpo(*of_margin(margin))
    hint = "-log sigmoid(beta * ((pc - rc) - (pr - rr)))"
    expect_close(got.loss, numbers(math.log(odds))[0], what=f"the loss of one pair of margin {margin:.4f}", hint=hint)


def test_rewards_are_beta_times_the_log_ratios():
    """The policy gives -10 and -20 where the reference gives -16 and -18: the log-ratios are 6 and -2. They are 1 and 0 in
    the second pair."""
    given = numbers(-10, -3), numbers(-20, -2), numbers(-16, -4), numbers(-18, -2)
    hint = "beta * (policy - reference), for each response"
    for beta in (0.1, 2.0):
        got = dpo(*given, beta=beta)
        expect_close(got.chosen_rewards, beta * numbers(6, 1), what=f"chosen_rewards at beta={beta}", hint=hint)
        expect_close(got.rejected_rewards, beta * numbers(-2, 0), what=f"rejected_rewards at beta={beta}", hint=hint)


@pytest.mark.parametrize("beta", [0.05, 0.5, 3.0])
def test_beta_scales_the_margin_inside_the_sigmoid(beta):
    """Log-ratios that are chosen so that beta times their difference is log 3. Outside the sigmoid, beta would only
    scale the learning rate."""
    got = dpo(*of_margin(math.log(3), beta=beta), beta=beta).loss
    hint = "logsigmoid(beta * difference), not beta * logsigmoid(difference)"
    expect_close(got, numbers(math.log(4 / 3))[0], what=f"the loss of margin log 3 at beta={beta}", hint=hint)


def test_the_loss_is_the_mean_over_the_pairs(rng):
    """5 pairs, against each pair alone. The mean is taken of losses, not of margins."""
    given = pairs(rng, 5)
    want = torch.stack([dpo(*(each[i : i + 1] for each in given), beta=0.3).loss for i in range(5)]).mean()
    expect_close(dpo(*given, beta=0.3).loss, want, what="the loss of 5 pairs, against the mean of their losses")


def test_a_swapped_pair_loses_its_margin_more(rng):
    """log sigmoid(m) - log sigmoid(-m) = m: the loss with chosen and rejected exchanged exceeds the loss by the margin."""
    chosen, rejected, *reference = pairs(rng, 4)
    got, swapped = dpo(chosen, rejected, *reference), dpo(rejected, chosen, *reversed(reference))
    margin = (0.1 * ((chosen - reference[0]) - (rejected - reference[1]))).mean()
    hint = "the chosen response's log-ratio minus the rejected one's"
    expect_close(swapped.loss - got.loss, margin, what="the loss of swapped pairs minus the loss", hint=hint)


def test_a_policy_that_is_the_reference_loses_log_two(rng):
    """The number to expect at the first step: every margin is 0, however likely the responses are. A tie is no win."""
    chosen, rejected = pairs(rng, 4)[:2]
    got = dpo(chosen, rejected, chosen.clone(), rejected.clone())
    hint = "the reference's log-probabilities are subtracted from the policy's, response by response"
    expect_close(got.loss, numbers(math.log(2))[0], what="the loss where policy and reference agree", hint=hint)
    for name in ("chosen_rewards", "rejected_rewards"):
        expect_close(getattr(got, name), torch.zeros(4).double(), what=f"{name} where they agree", hint=hint)
    expect_equal(
        got.accuracy, numbers(0)[0], what="accuracy where all rewards are 0", hint="chosen > rejected, strictly"
    )


def test_what_both_responses_share_cancels(rng):
    """A prompt-dependent constant is the same for both responses of a pair: the partition function of the reward."""
    chosen, rejected, *reference = pairs(rng, 3)
    shift, want = 7 * randn(rng, 3), dpo(chosen, rejected, *reference).loss
    hint = "the margin is a difference of two log-ratios"
    got = dpo(chosen + shift, rejected + shift, *reference).loss
    expect_close(got, want, what="the loss with a constant added to both policy values", hint=hint)
    got = dpo(chosen, rejected, *(each + shift for each in reference)).loss
    expect_close(got, want, what="the loss with a constant added to both reference values", hint=hint)


def test_accuracy_counts_larger_chosen_rewards():
    """Rewards decide, not log-probabilities: the first three pairs are right although, in the first, the policy finds the
    rejected response likelier and, in the second, both rewards are negative. The others are a wrong one, a tie, and a
    wrong one with a positive chosen reward. beta is 0.5, so that the tie is one however it is computed."""
    given = numbers(-30, -12, -8, -10, -9, -7), numbers(-20, -15, -9, -15, -6, -8), numbers(-36, -11, -11, -9, -11, -9)
    # log-ratios 6, -1, 3, -1, 2, 2 and 2, -4, 1, 0, 2, 4
    got = dpo(*given, numbers(-22, -11, -10, -15, -8, -12), beta=0.5)
    hint = "the share of pairs with chosen_rewards > rejected_rewards; a tie is wrong"
    expect_close(got.accuracy, numbers(0.5)[0], what="the accuracy of 3 right pairs of 6", hint=hint)
