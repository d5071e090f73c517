"""Stage 1. Labels of one example, the loss, one packed row."""

import math

import pytest
import torch

from dojo.testing import expect_close, expect_equal, numbers, randint, randn
from katas.sft_loss import build_labels, causal_lm_loss

from .helpers import COUNTED, SHIFT, examples, expect_rows, masks, packed, table

LOGITS = torch.tensor([[[1.0, 2, 5], [2, 2, 4], [5, 2, 1], [1, 6, 1]]]).double().log()  # rows add up to 8
MEAN = "minus the logit of the label plus the log-sum-exp of its position; the mean over the labels that are not -100"


def test_worked_labels():
    """A prompt of two tokens and an answer of three."""
    got = build_labels(table((5, 6, 7, 8, 9)), masks((1, 1, 1, 1, 1)), torch.tensor([2]))
    what = "build_labels of the tokens [5, 6, 7, 8, 9] with a prompt of 2"
    expect_equal(got, table((-100, -100, 7, 8, 9)), what=what, hint=COUNTED + "; the loss shifts, not the labels")


@pytest.mark.parametrize("prompt", [1, 2, 3, 4, 5])
def test_the_answer_begins_after_the_prompt(rng, prompt):
    """Six tokens: the last of the prompt does not count, the first and the last of the answer do."""
    tokens = randint(rng, 10, 20, 1, 6)
    want = torch.cat([torch.full((1, prompt), -100), tokens[:, prompt:]], 1)
    got = build_labels(tokens, torch.ones(1, 6).bool(), torch.tensor([prompt]))
    expect_equal(got, want, what=f"build_labels of {tokens[0].tolist()} with a prompt of {prompt}", hint=COUNTED)


@pytest.mark.parametrize(("label", "probability"), [(0, 1 / 8), (1, 2 / 8), (2, 5 / 8)])
def test_a_label_is_predicted_by_the_position_before(label, probability):
    """The first position's logits, log [1, 2, 5], are about the second label."""
    got = causal_lm_loss(LOGITS[:, :2], table((-100, label)))
    what = f"the loss of the labels [-100, {label}] with logits log [1, 2, 5] at position 0"
    expect_close(got, numbers(-math.log(probability))[0], what=what, hint=SHIFT)


def test_a_worked_loss():
    """The labels 2, 1, 0 have the probabilities 5/8, 2/8 and 5/8."""
    got = causal_lm_loss(LOGITS, table((-100, 2, 1, 0)))
    want = -numbers(5 / 8, 2 / 8, 5 / 8).log().mean()
    expect_close(got, want, what="the loss of the labels [-100, 2, 1, 0]", hint=MEAN + ". " + SHIFT)


@pytest.mark.parametrize(
    ("labels", "probabilities"),
    [
        ((-100, -100, 1, 0), (2 / 8, 5 / 8)),
        ((-100, 2, -100, 0), (5 / 8, 5 / 8)),
        ((-100, 2, 1, -100), (5 / 8, 2 / 8)),
        ((-100, -100, 1, -100), (2 / 8,)),
    ],
    ids=str,
)
def test_ignored_labels_do_not_count(labels, probabilities):
    """Neither in the sum nor in the number by which it is divided."""
    got = causal_lm_loss(LOGITS, table(labels))
    want = -numbers(*probabilities).log().mean()
    expect_close(got, want, what=f"the loss of the labels {list(labels)}", hint=MEAN)


def test_a_model_that_copies_its_input_has_learned_nothing(rng):
    """Logits of 30 for the token itself cost 30 nats each time that the next token is another one; logits of 30 for the
    next token cost nothing. A loss that does not shift has it the other way round, and falls to 0 in training."""
    tokens = table((3, 0, 4, 1, 2, 3))
    want = numbers(30 + math.log1p(4 * math.exp(-30)), math.log1p(4 * math.exp(-30)))
    for name, predicted, loss in (("its own", tokens, want[0]), ("the next", tokens.roll(-1, 1), want[1])):
        logits = 30.0 * torch.nn.functional.one_hot(predicted, 5).double()
        what = f"the loss where each position predicts {name} token, with tokens {tokens[0].tolist()}"
        expect_close(causal_lm_loss(logits, tokens), loss, what=what, hint=SHIFT, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("vocab", [2, 5, 50])
def test_equal_logits_lose_the_logarithm_of_the_vocabulary(rng, vocab):
    """The number to expect from an untrained model, at any height of the logits."""
    logits = randn(rng, 1, 6, 1).expand(1, 6, vocab)
    got = causal_lm_loss(logits, randint(rng, 0, vocab, 1, 6))
    what = f"the loss of equal logits over {vocab} classes"
    expect_close(got, numbers(math.log(vocab))[0], what=what, hint=MEAN)


def test_two_examples_in_one_row():
    """Three tokens and two, which fit into five."""
    rows = packed(*examples(3, 2), 5)
    what = "the row of the examples [10, 11, 12] and [20, 21]"
    expect_rows(rows, [[10, 11, 12, 20, 21]], "tokens", what=what, hint="one after the other, in their order")
    expect_rows(rows, [[0, 1, 2, 0, 1]], "positions", what=what, hint="positions begin anew in each example")
    expect_rows(rows, [[0, 0, 0, 1, 1]], "segments", what=what, hint="the number of the example in its row, from 0")
    hint = "the token before an example's first one belongs to another example: the first label is -100"
    expect_rows(rows, [[-100, 1011, 1012, -100, 1021]], "labels", what=what, hint=hint)


def test_one_example_in_a_row(rng):
    """It is the row."""
    tokens, labels = randint(rng, 0, 50, 4), table((-100, -100, 7, 8))[0]
    rows = packed([tokens], [labels], 6)
    what = "the row of one example"
    expect_rows(rows, [tokens.tolist()], "tokens", what=what, hint="max_length is the most; rows are not padded")
    expect_rows(rows, [[-100, -100, 7, 8]], "labels", what=what, hint="the labels as they were given")
    expect_rows(rows, [[0, 1, 2, 3]], "positions", what=what)
    expect_rows(rows, [[0, 0, 0, 0]], "segments", what=what)
