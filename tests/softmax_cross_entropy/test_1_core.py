"""Stage 1. Log-sum-exp, the loss."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_own_work, numbers, randint, randn
from katas import softmax_cross_entropy
from katas.softmax_cross_entropy import cross_entropy, log_sum_exp

from .helpers import one_by_one, targets_of, tokens
from .probe import FORBIDDEN


def test_log_sum_exp_of_a_worked_example():
    """The logarithm of 1 + 2 + 5, and of one number alone: the number itself."""
    hint = "log(sum(exp(x - max))) + max: what is subtracted before the exp is added back after the log"
    got = log_sum_exp(numbers(1, 2, 5).log())
    expect_close(got, numbers(8).log()[0], what="log_sum_exp(log [1, 2, 5])", hint=hint)
    got = log_sum_exp(numbers(-7))
    expect_close(got, numbers(-7)[0], what="log_sum_exp([-7])", hint=hint)


def test_the_loss_is_your_own():
    """torch has the loss, the log-softmax and the log-sum-exp ready-made; the question is what happens inside."""
    log_sum_exp(numbers(0, 0))
    expect_own_work(softmax_cross_entropy, FORBIDDEN)


def test_log_sum_exp_lies_between_the_maximum_and_log_n_more(rng):
    """Adding a constant to a row adds it to the result, and exp of it is the sum of the exponentials."""
    x = 2 * randn(rng, 9)
    hint = "log(sum(exp(x - max))) + max"
    expect_close(log_sum_exp(x).exp(), x.exp().sum(), what="exp(log_sum_exp(x))", hint=hint)
    expect_close(log_sum_exp(x + 3.5), log_sum_exp(x) + 3.5, what="log_sum_exp(x + 3.5)", hint=hint)
    for n in (1, 2, 9):
        got = log_sum_exp(torch.full((n,), -1.25).double())
        expect_close(got, numbers(math.log(n) - 1.25)[0], what=f"log_sum_exp of {n} times -1.25", hint=hint)


@pytest.mark.parametrize(("target", "odds"), [(0, 8.0), (1, 4.0), (2, 1.6)])
def test_a_worked_example(target, odds):
    """Logits log [1, 2, 5] are probabilities 1/8, 2/8, 5/8: the losses are log 8, log 4, log 1.6."""
    expect_close(
        cross_entropy(numbers(1, 2, 5).log()[None], targets_of(target)),
        numbers(odds).log()[0],
        what=f"cross_entropy([log [1, 2, 5]], [{target}])",
        hint="lse - z_target: minus the log of the target's probability, in natural logarithms",
    )


def test_a_loss_is_minus_the_log_of_a_probability(rng):
    """exp(-loss) over all targets adds up to 1, and two targets' losses differ as their logits do."""
    logits = 2 * randn(rng, 1, 6)
    losses = torch.stack([cross_entropy(logits, targets_of(target)) for target in range(6)])
    expect_close(
        (-losses).exp().sum(), numbers(1)[0], what="the sum of exp(-loss) over all targets", hint="one softmax"
    )
    hint = "the target's logit is subtracted as it is"
    expect_close(losses[0] - losses, logits[0] - logits[0, 0], what="loss(target 0) - loss(target j)", hint=hint)


def test_the_loss_is_the_mean_over_the_tokens(rng):
    """A sum would grow with the batch, and the learning rate would have to follow it. Each token has its own target."""
    for n, vocab in ((1, 4), (5, 7), (6, 6), (7, 3)):
        logits, targets = tokens(rng, n, vocab)
        want, hint = one_by_one(logits, targets).mean(), "gather the target's logit of each row, then the mean"
        what = f"the loss of {n} tokens, against the mean of their losses"
        expect_close(cross_entropy(logits, targets), want, what=what, hint=hint)


@pytest.mark.parametrize("vocab", [1, 2, 50])
def test_a_model_that_knows_nothing_loses_log_of_the_vocabulary(rng, vocab):
    """The number to expect at the first step of training: log V."""
    got = cross_entropy(torch.full((4, vocab), 0.75).double(), randint(rng, 0, vocab, 4))
    expect_close(got, numbers(math.log(vocab))[0], what=f"the loss of {vocab} equal logits", hint="log V, natural log")
