"""Stage 2. Several drafted tokens, rows of a batch, one-hot probabilities, wrong arguments."""

import pytest
import torch

from dojo.testing import expect, expect_distribution, expect_equal, expect_raises, expect_unchanged, numbers, randint
from katas.speculative_decoding import expected_tokens, verify

from .helpers import DRAWS, KEEP, P, Q, distributions, drawn, expect_form, one_hot, repeated

FIRST = "the first refusal ends the row: cumprod of what is accepted, and its sum"


@pytest.mark.parametrize("gamma", [1, 3, 6])
def test_equal_models_keep_everything(rng, gamma):
    """p = q: gamma + 1 tokens in every row, the drafted ones first."""
    p = distributions(rng, 50, gamma + 1, 5)
    drafted = drawn(rng, p[:, :gamma])
    tokens, counts = verify(drafted, p[:, :gamma], p, generator=rng)
    expect_form(tokens, counts, 50, gamma)
    expect_equal(counts, torch.full((50,), gamma + 1), what="the counts where p = q", hint=KEEP)
    expect_equal(tokens[:, :gamma], drafted, what="the tokens before the last one where p = q")


def test_models_that_never_agree_keep_nothing(rng):
    """Disjoint supports: one token a row, from the target's first row alone."""
    p = torch.stack([numbers(0.5, 0.5, 0, 0), numbers(0.2, 0.8, 0, 0), numbers(1, 0, 0, 0)]).expand(DRAWS, 3, 4)
    q = repeated(numbers(0, 0, 0.5, 0.5), DRAWS, 2)
    tokens, counts = verify(drawn(rng, q), q, p, generator=rng)
    expect_form(tokens, counts, DRAWS, 2)
    expect_equal(int(counts.max()), 1, what="the largest count for disjoint supports", hint=KEEP)
    expect_distribution(tokens[:, 0], p[0, 0], what="the first tokens for disjoint supports", hint="the residual is p")


def test_nothing_is_kept_after_a_refusal(rng):
    """The second drafted token would be fine, but it continues a token that was thrown away."""
    p = one_hot([[0, 2, 3]]).expand(100, 3, 4)
    q = repeated(numbers(0.25, 0.25, 0.25, 0.25), 100, 2)
    tokens, counts = verify(torch.tensor([[1, 2]]).repeat(100, 1), q, p, generator=rng)
    expect_form(tokens, counts, 100, 2)
    expect_equal(tokens[0].tolist(), [0, -1, -1], what="the row that drafted 1, 2 where the target says 0", hint=FIRST)
    expect_equal(int(counts.max()), 1, what="the largest count", hint=FIRST)


def test_each_place_decides_for_itself(rng):
    """Each is kept half of the time: one token in half of the rows, two in a quarter, three in a quarter."""
    p, q = repeated(numbers(0.5, 0.5), DRAWS, 3), repeated(numbers(1.0, 0.0), DRAWS, 2)
    _, counts = verify(torch.zeros(DRAWS, 2, dtype=torch.int64), q, p, generator=rng)
    hint = "a draw for each place of each row: torch.rand(batch, gamma)"
    expect_distribution(counts - 1, numbers(0.5, 0.25, 0.25), what="the counts less 1", hint=hint)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_replacement_belongs_to_the_place_that_was_refused(rng, place):
    """Its own p and its own q: those of the next place belong to another prefix."""
    p = torch.stack([P, P.flip(0), P[[1, 0, 3, 2]], P[[2, 3, 0, 1]]]).clone()
    q = torch.stack([Q, Q.flip(0), Q[[1, 0, 3, 2]]]).clone()
    for before in range(place):
        p[before] = q[before]  # kept for certain
    refused = int((q[place] - p[place]).argmax())
    p[place, refused] = 0
    p[place] /= p[place].sum()
    drafted = drawn(rng, q[None]).expand(DRAWS, 3).clone()
    drafted[:, place] = refused
    tokens, counts = verify(drafted, q.expand(DRAWS, 3, 4), p.expand(DRAWS, 4, 4), generator=rng)
    expect_form(tokens, counts, DRAWS, 3)
    expect_equal(counts, torch.full((DRAWS,), place + 1), what=f"the counts where place {place} is refused", hint=FIRST)
    missing = (p[place] - q[place]).clamp(min=0)
    hint = "index p and q by the place of the first refusal"
    what = f"the tokens at place {place}"
    expect_distribution(tokens[:, place], missing / missing.sum(), what=what, hint=hint)


def test_the_second_token_follows_the_target_given_the_first(rng):
    """Where the first was kept. The target's second row is the one behind the drafted token."""
    table = torch.stack([P, P.flip(0), P[[1, 0, 3, 2]], P[[2, 3, 0, 1]]])
    q = repeated(Q, 3 * DRAWS, 2)
    drafted = drawn(rng, q)
    target = torch.cat([repeated(P, 3 * DRAWS, 1), table[drafted]], dim=1)
    tokens, counts = verify(drafted, q, target, generator=rng)
    for first in (0, 1):
        second = tokens[(counts >= 2) & (tokens[:, 0] == first), 1]
        what = f"the second tokens behind a kept {first}"
        expect_distribution(second, table[first], what=what, hint="each place has a row of its own in p and in q")


def test_rows_have_distributions_of_their_own(rng):
    """And counts of their own."""
    p, q = distributions(rng, 2, 2, 4), distributions(rng, 2, 1, 4)
    q_many = q.repeat(DRAWS, 1, 1)
    tokens, counts = verify(drawn(rng, q_many), q_many, p.repeat(DRAWS, 1, 1), generator=rng)
    expect_form(tokens, counts, 2 * DRAWS, 1)
    for row in (0, 1):
        what = f"the first tokens of the rows with distribution {row}"
        expect_distribution(tokens[row::2, 0], p[row, 0], what=what, hint="each row by its own p, q and draws")


def test_without_a_draft_one_token_is_drawn(rng):
    """gamma = 0: plain sampling."""
    nothing = torch.zeros(DRAWS, 0, dtype=torch.int64)
    tokens, counts = verify(nothing, repeated(Q, DRAWS, 0), repeated(P, DRAWS, 1), generator=rng)
    expect_form(tokens, counts, DRAWS, 0)
    expect_distribution(tokens, P, what="the tokens with gamma = 0", hint="draw from the target's only row")


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
def test_certain_models_keep_what_they_agree_on(rng, kept):
    """One-hot, as greedy decoding is: the common beginning, and then the target's own token."""
    wanted, drafted = [3, 1, 0, 2], [3, 1, 0]
    drafted[kept:] = [(token + 1) % 4 for token in drafted[kept:]]
    for _ in range(5):
        tokens, counts = verify(torch.tensor([drafted]), one_hot([drafted]), one_hot([wanted]), generator=rng)
        found = (tokens[0].tolist(), counts.tolist())
        right = (wanted[: kept + 1] + [-1] * (3 - kept), [kept + 1])
        hint = "where q is one-hot at another token, max(p - q, 0) is p"
        expect_equal(found, right, what=f"tokens and counts for {drafted} against {wanted}", hint=hint)


def test_only_what_the_target_can_say_comes_out(rng):
    """Supports that overlap in part: neither kept nor drawn tokens may have p = 0."""
    p = distributions(rng, 200, 4, 6) * (torch.rand(200, 4, 6, generator=rng) < 0.5)
    p[..., 0] += 0.1
    p = p / p.sum(-1, keepdim=True)
    q = distributions(rng, 200, 3, 6)
    tokens, counts = verify(drawn(rng, q), q, p, generator=rng)
    expect_form(tokens, counts, 200, 3)
    emitted = tokens >= 0
    chances = p.gather(-1, tokens.clamp(min=0)[..., None])[..., 0]
    wrong = int((emitted & (chances == 0)).sum())
    expect(wrong == 0, f"every emitted token should have p > 0, but {wrong} of {int(emitted.sum())} have 0", hint=KEEP)


def test_arguments_are_left_alone(rng):
    """The caller's cache holds them."""
    q, p = distributions(rng, 20, 2, 4), distributions(rng, 20, 3, 4)
    drafted = drawn(rng, q)
    with expect_unchanged(drafted, q, p, what="an argument of verify"):
        verify(drafted, q, p, generator=rng)


@pytest.mark.parametrize(
    ("drafted", "draft", "target"),
    [
        ((2, 3), (2, 3, 4), (2, 3, 4)),
        ((2, 3), (2, 4, 4), (2, 4, 4)),
        ((2, 3), (2, 3, 4), (2, 4, 5)),
        ((2, 3), (1, 3, 4), (2, 4, 4)),
        ((2, 3), (2, 3, 4), (3, 4, 4)),
    ],
)
def test_shapes_that_disagree_are_an_error(rng, drafted, draft, target):
    """Most often the target's last row is missing."""
    with expect_raises(ValueError, what=f"verify of {drafted}, {draft} and {target}"):
        verify(randint(rng, 0, 4, *drafted), distributions(rng, *draft), distributions(rng, *target), generator=rng)


@pytest.mark.parametrize("whose", ["draft", "target"])
@pytest.mark.parametrize(
    "row", [[0.5, 0.7, -0.2, 0.0], [0.5, 0.2, 0.2, 0.115], [0.2, 0.2, 0.2, 0.2], [float("nan")] * 4]
)
def test_rows_that_are_no_probabilities_are_an_error(rng, whose, row):
    """Logits, for example."""
    q, p = distributions(rng, 2, 1, 4), distributions(rng, 2, 2, 4)
    (q if whose == "draft" else p)[1, 0] = numbers(*row)
    with expect_raises(ValueError, what=f"verify with {row} in the {whose}'s probabilities"):
        verify(torch.zeros(2, 1, dtype=torch.int64), q, p, generator=rng)


@pytest.mark.parametrize(("acceptance", "gamma"), [(-0.1, 2), (1.1, 2), (float("nan"), 2), (0.5, -1)])
def test_what_is_no_acceptance_or_no_number_of_tokens_is_an_error(acceptance, gamma):
    """A probability, and a length."""
    with expect_raises(ValueError, what=f"expected_tokens({acceptance}, {gamma})"):
        expected_tokens(acceptance, gamma)
