"""Stage 1. One drafted token."""

import pytest
import torch

from dojo.testing import expect_close, expect_distribution, expect_equal, numbers
from katas.speculative_decoding import expected_tokens, verify

from .helpers import DRAWS, KEEP, KEPT, MISSING, P, Q, drawn, expect_form, one_hot, repeated


def checked(rng, token, p=P, q=Q, after=P):
    """Many rows in which `token` was drafted."""
    drafted = torch.full((DRAWS, 1), token)
    target = torch.stack([p, after]).expand(DRAWS, 2, -1)
    tokens, counts = verify(drafted, repeated(q, DRAWS, 1), target, generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    return tokens, counts


@pytest.mark.parametrize("token", [0, 1])
def test_what_the_target_wants_more_of_is_always_kept(rng, token):
    """p(x) >= q(x)."""
    tokens, counts = checked(rng, token)
    expect_equal(int((counts == 2).sum()), DRAWS, what=f"how often {token} is kept, of {DRAWS} times", hint=KEEP)
    expect_equal(tokens[:, 0], torch.full((DRAWS,), token), what="the token that was kept")


@pytest.mark.parametrize("token", [2, 3])
def test_the_rest_is_kept_with_probability_p_over_q(rng, token):
    """What the draft has too much of is kept so often that the target's share remains."""
    _, counts = checked(rng, token)
    kept = (P[token] / Q[token]).item()
    what = f"the counts less 1, with {token} drafted (p = {P[token]:g}, q = {Q[token]:g}),"
    expect_distribution(counts - 1, numbers(1 - kept, kept), what=what, hint=KEEP)


def test_a_refused_token_is_replaced_by_one_that_is_missing(rng):
    """From max(p - q, 0): to draw from p itself would give the frequent tokens too often."""
    tokens, counts = checked(rng, 3)
    hint = "draw from max(p - q, 0), normalised, of the place that was refused"
    expect_distribution(tokens[counts == 1, 0], MISSING, what="the tokens in the place of a refused 3", hint=hint)


def test_what_the_target_excludes_is_never_kept(rng):
    """p(x) = 0 may come of a filter such as top-k."""
    p = numbers(0.5, 0.0, 0.5, 0.0)
    tokens, counts = checked(rng, 1, p=p)
    expect_equal(int(counts.max()), 1, what="the largest count where the drafted token has p = 0", hint=KEEP)
    missing = (p - Q).clamp(min=0)
    hint = "draw from max(p - q, 0), normalised, of the place that was refused"
    expect_distribution(tokens[:, 0], missing / missing.sum(), what="the tokens in the place of a refused 1", hint=hint)


def test_a_replacement_is_drawn_anew(rng):
    """The draw that refused a token is above p(x) / q(x): whoever uses it again favours the end of the vocabulary."""
    tokens, counts = checked(rng, 2, p=numbers(0.25, 0.25, 0.5), q=numbers(0, 0, 1), after=numbers(1, 0, 0))
    hint = "draw from max(p - q, 0), normalised, by another draw than the one that decided"
    expect_distribution(tokens[counts == 1, 0], numbers(0.5, 0.5, 0), what="the tokens in the place of a 2", hint=hint)


def test_the_first_token_follows_the_target(rng):
    """The point of it all: whatever the draft prefers, what comes out is the large model's."""
    q = repeated(Q, DRAWS, 1)
    tokens, counts = verify(drawn(rng, q), q, repeated(P, DRAWS, 2), generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    hint = "kept tokens have min(p, q), and max(p - q, 0) is what is missing"
    expect_distribution(tokens[:, 0], P, what="the first tokens", hint=hint)


def test_the_share_of_kept_tokens_is_the_overlap(rng):
    """The sum of min(p, q): no exact check keeps more, and drawing from p and comparing keeps less."""
    q = repeated(Q, DRAWS, 1)
    _, counts = verify(drawn(rng, q), q, repeated(P, DRAWS, 2), generator=rng)
    overlap = KEPT.sum().item()
    expect_distribution(counts - 1, numbers(1 - overlap, overlap), what="the counts less 1", hint=KEEP)


def test_a_kept_draft_brings_one_more_token(rng):
    """From the target's last row, which the same pass has computed."""
    after = numbers(0.1, 0.2, 0.3, 0.4)
    tokens, _ = checked(rng, 0, after=after)
    hint = "draw it from the last row of target_probs, as it is: nothing was drafted there"
    expect_distribution(tokens[:, 1], after, what="the tokens behind a kept one", hint=hint)


def test_after_a_refusal_there_is_no_more(rng):
    """The target's last row continues a token that was thrown away."""
    tokens, counts = checked(rng, 3, p=one_hot([0])[0])
    expect_equal(int(counts.max()), 1, what="the largest count after a refusal", hint="one replacement, and no more")
    expect_equal(tokens[:, 1], torch.full((DRAWS,), -1), what="the places behind a refusal")


@pytest.mark.parametrize(
    ("acceptance", "gamma", "wanted"), [(0.8, 4, 3.3616), (0.5, 1, 1.5), (0.0, 3, 1.0), (1.0, 5, 6.0), (0.7, 0, 1.0)]
)
def test_the_expected_number_of_tokens(acceptance, gamma, wanted):
    """1 + a + a^2 + ... + a^gamma: the token after i kept ones needs i acceptances."""
    found = torch.tensor(float(expected_tokens(acceptance, gamma)), dtype=torch.float64)
    what = f"expected_tokens({acceptance}, {gamma})"
    expect_close(found, torch.tensor(wanted, dtype=torch.float64), what=what, hint="(1 - a^(gamma + 1)) / (1 - a)")
