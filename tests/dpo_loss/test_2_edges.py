"""Stage 2. Prompts, padding on either side, empty responses, smoothing, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import (
    called_for,
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_unchanged,
    numbers,
    randint,
    randn,
)
from katas.dpo_loss import dpo_loss, sequence_log_probs

from .helpers import ALIGN, dpo, masks, of_margin, pairs, responses
from .probe import WRONG_OPTIONS, WRONG_PAIRS, WRONG_SHAPES

INDEX = "tokens.where(mask, 0) before the gather: what stands under a False is no index"
UNDER = [-100, -1, 0, 10**6]  # what padding may be


def test_the_prompt_is_not_scored(rng):
    """Two prompts of 4 tokens before one response of 2: their log-probability has no part in the result. Only the last
    position of the prompt matters: it predicts the first token of the response."""
    logits, tokens, _ = responses(rng, 3, 6, 5)
    mask = masks((0, 0, 0, 0, 1, 1)).expand(3, -1)
    want = sequence_log_probs(logits[:, 3:], tokens[:, 3:], mask[:, 3:])
    expect_close(
        sequence_log_probs(logits, tokens, mask),
        want,
        what="the log-probability after a prompt of 4 tokens, against a prompt of 1",
        hint="score where the mask is True",
    )
    other = logits.clone()
    other[:, :3] = 30 * randn(rng, 3, 3, 5)
    changed = torch.cat([randint(rng, 0, 5, 3, 4), tokens[:, 4:]], 1)
    got = sequence_log_probs(other, changed, mask)
    expect_close(got, want, what="the log-probability after another prompt with other logits", hint=ALIGN)


def test_the_first_and_the_last_token_of_a_response_are_scored(rng):
    """A response of one token, anywhere: the mask moves together with the tokens, and no end is cut off."""
    logits, tokens, _ = responses(rng, 1, 5, 4)
    log_probs = logits.log_softmax(-1)[0]
    for place in range(1, 5):
        mask = torch.arange(5)[None] == place
        want = log_probs[place - 1, tokens[0, place]][None]
        got = sequence_log_probs(logits, tokens, mask)
        expect_close(got, want, what=f"the log-probability of token {place} alone, of 5", hint=ALIGN)


@pytest.mark.parametrize("number", UNDER)
def test_padding_on_either_side_has_no_influence(rng, number):
    """The same response with padding on the left, on the right and on both sides. A padding token may be any number:
    -100 is no index, -1 would read the last class, and 0 may also be a token that counts."""
    logits, tokens, _ = responses(rng, 1, 4, 5)
    tokens[0, 2] = 0
    want = sequence_log_probs(logits, tokens, masks((0, 1, 1, 1)))
    padding = torch.full((1, 2), number)
    rows = [
        torch.cat(row, 1)
        for row in ([padding, padding, tokens], [padding, tokens, padding], [tokens, padding, padding])
    ]
    counts = masks((0, 0, 0, 0, 0, 1, 1, 1), (0, 0, 0, 1, 1, 1, 0, 0), (0, 1, 1, 1, 0, 0, 0, 0))
    padded = 3 * randn(rng, 3, 8, 5)
    for row, start in enumerate((4, 2, 0)):
        padded[row, start : start + 4] = logits[0]
    what = f"the log-probability with padding of {number} on the left, on both sides, on the right"
    with called_for(what, hint=INDEX):
        got = sequence_log_probs(padded, torch.cat(rows), counts)
    expect_close(got, want.expand(3), what=what, hint=INDEX)


@pytest.mark.parametrize("number", UNDER)
def test_only_the_mask_says_what_counts(rng, number):
    """A conversation: two answers, and between them tokens of a user, which are not scored. The result is the sum of
    both answers' log-probabilities."""
    logits, tokens, _ = responses(rng, 2, 7, 5)
    mask = masks((0, 1, 1, 0, 0, 1, 1), (0, 1, 0, 1, 0, 0, 1))
    last = torch.arange(7) > 3
    want = sequence_log_probs(logits, tokens, mask & last) + sequence_log_probs(logits, tokens, mask & ~last)
    what, hint = f"the log-probability of two answers, with {number} between them", "score where the mask is True alone"
    with called_for(what, hint=INDEX):
        got = sequence_log_probs(logits, tokens.where(mask, number), mask)
    expect_close(got, want, what=what, hint=hint)


@pytest.mark.parametrize("number", [2, -100])
def test_nothing_predicts_token_0(rng, number):
    """Where the mask is True throughout, as for a response without a prompt, the first token is still not scored. The
    last position's logits are about a token that is not there: torch.roll would score token 0 with them."""
    logits, tokens, _ = responses(rng, 3, 5, 4)
    want = sequence_log_probs(logits, tokens, masks((0, 1, 1, 1, 1)).expand(3, -1))
    tokens[:, 0] = number
    what = f"the log-probability with a mask that is True at token 0, {number}"
    with called_for(what, hint=ALIGN):
        got = sequence_log_probs(logits, tokens, masks((1, 1, 1, 1, 1)).expand(3, -1))
    expect_close(got, want, what=what, hint=ALIGN)


def test_a_row_without_a_scored_token_gives_zero(rng):
    """0 is the logarithm of 1. Beside it, other rows are as before."""
    logits, tokens, mask = responses(rng, 3, 5, 4)
    want = sequence_log_probs(logits, tokens, mask)
    mask[1] = False
    tokens[1] = -100
    want[1] = 0
    hint = "a sum over nothing is 0; do not divide by a number of tokens"
    expect_close(
        sequence_log_probs(logits, tokens, mask), want, what="the result with nothing scored in row 1", hint=hint
    )
    for mask in (masks((0,), (0,)), masks((1,), (0,))):
        what = f"the result of length 1, where no position predicts anything, with the mask {mask.tolist()}"
        with called_for(what, hint=hint):
            got = sequence_log_probs(logits[:2, :1], tokens[:2, :1], mask)
        expect_equal(got, torch.zeros(2).double(), what=what, hint=hint)


def test_arguments_are_not_modified(rng):
    """Tokens with -100 in them are used again: by the rejected half, by the reference model."""
    logits, tokens, mask = responses(rng, 2, 5, 4)
    tokens = tokens.where(mask, -100)
    with expect_unchanged(logits, tokens, mask, what="an argument of sequence_log_probs"):
        sequence_log_probs(logits, tokens, mask)
    given = pairs(rng, 3)
    with expect_unchanged(*given, what="an argument of dpo_loss"):
        dpo_loss(*given, label_smoothing=0.1)


def test_other_memory_layouts_give_the_same(rng):
    """Logits that are a slice of a larger batch, transposed tokens: views are no obstacle, and a second call is as the
    first."""
    logits, tokens, mask = responses(rng, 3, 5, 4)
    want = sequence_log_probs(logits, tokens, mask)
    strided = torch.stack([logits, logits], -1)[..., 1]
    for _ in range(2):
        got = sequence_log_probs(strided, tokens.T.contiguous().T, mask.T.contiguous().T)
        expect_close(got, want, what="the log-probability of strided inputs")


@pytest.mark.parametrize("smoothing", [0.1, 0.3, 0.49])
def test_smoothing_takes_a_share_of_labels_as_swapped(smoothing):
    """(1 - s) times the loss of the pair, s times the loss of the swapped pair: log 4/3 and log 4 at a margin of log 3."""
    want = numbers((1 - smoothing) * math.log(4 / 3) + smoothing * math.log(4))[0]
    got = dpo(*of_margin(math.log(3)), label_smoothing=smoothing)
    hint = "-(1 - s) logsigmoid(m) - s logsigmoid(-m), both with a minus, not divided by 1 - 2s"
    expect_close(got.loss, want, what=f"the loss of margin log 3 with label_smoothing={smoothing}", hint=hint)


@pytest.mark.parametrize("smoothing", [0.0, 0.25])
def test_smoothing_leaves_rewards_and_accuracy_alone(rng, smoothing):
    """It is about labels; what the policy prefers is as before. The loss of many pairs is the mean of theirs."""
    given = pairs(rng, 7)
    got, plain = dpo(*given, beta=0.2, label_smoothing=smoothing), dpo(*given, beta=0.2)
    for name in ("chosen_rewards", "rejected_rewards", "accuracy"):
        want = getattr(plain, name)
        expect_close(
            getattr(got, name), want, what=f"{name} with label_smoothing={smoothing}", hint="no smoothing here"
        )
    single = [dpo(*(each[i : i + 1] for each in given), beta=0.2, label_smoothing=smoothing).loss for i in range(7)]
    expect_close(got.loss, torch.stack(single).mean(), what=f"the loss of 7 pairs with label_smoothing={smoothing}")


def test_one_pair_and_many(rng):
    """Rewards have one number per pair, the loss and the accuracy are single numbers, for one pair as well."""
    for n in (1, 6):
        got = dpo(*pairs(rng, n))
        for name, shape in (("loss", []), ("accuracy", []), ("chosen_rewards", [n]), ("rejected_rewards", [n])):
            value = getattr(got, name)
            expect(isinstance(value, torch.Tensor), f"{name} should be a tensor, but is {value!r}")
            expect_equal(list(value.shape), shape, what=f"the shape of {name} for {n} pairs")


@pytest.mark.parametrize(("tokens", "mask"), WRONG_SHAPES, ids=str)
def test_tokens_and_mask_of_other_shapes_are_errors(tokens, mask):
    """A gather takes fewer rows without a word, and a mask of one row is broadcast."""
    with expect_raises(ValueError, what=f"sequence_log_probs with logits [2, 4, 3], tokens {tokens}, mask {mask}"):
        sequence_log_probs(torch.zeros(2, 4, 3), torch.zeros(tokens).long(), torch.ones(mask).bool())


@pytest.mark.parametrize("shapes", WRONG_PAIRS, ids=str)
def test_log_probabilities_of_other_shapes_are_errors(shapes):
    """[n] minus [n, 1] is [n, n]: a loss of all pairs of pairs, quietly."""
    with expect_raises(
        ValueError, what=f"dpo_loss with log-probabilities of shapes {shapes}", hint="compare the shapes"
    ):
        dpo_loss(*(torch.zeros(shape) for shape in shapes))


@pytest.mark.parametrize("options", WRONG_OPTIONS, ids=str)
def test_wrong_options_are_errors(options):
    """At s = 0.5 labels say nothing, and a beta of 0 trains nothing. A comparison with NaN is False either way."""
    with expect_raises(ValueError, what=f"dpo_loss with {options}", hint="if not 0 <= s < 0.5: raise"):
        dpo_loss(*(torch.zeros(2) for _ in range(4)), **options)
