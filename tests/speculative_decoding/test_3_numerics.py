"""Stage 3. Dtypes, tiny probabilities, generators."""

import pytest
import torch

from dojo.testing import FLOATS, called_for, expect, expect_distribution, expect_equal, expect_seeded, numbers
from katas.speculative_decoding import verify

from .helpers import DRAWS, KEEP, P, Q, ZeroDraws, distributions, drawn, expect_form, repeated


@pytest.mark.parametrize("dtype", FLOATS)
def test_it_is_exact_in_every_dtype(rng, dtype):
    """The probabilities are rounded, and what is rounded is what p and q are."""
    p, q = repeated(P, DRAWS, 2).to(dtype), repeated(Q, DRAWS, 1).to(dtype)
    tokens, counts = verify(drawn(rng, q.double()), q, p, generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    what = f"the first tokens in {dtype}"
    expect_distribution(tokens[:, 0], p[0, 0].double() / p[0, 0].double().sum(), what=what, hint=KEEP)


@pytest.mark.parametrize("kinds", [(torch.bfloat16, torch.float32), (torch.float32, torch.float16)])
def test_the_models_may_differ_in_dtype(rng, kinds):
    """A draft in bfloat16 beside a target in float32."""
    q, p = repeated(Q, DRAWS, 1).to(kinds[0]), repeated(P, DRAWS, 2).to(kinds[1])
    tokens, counts = verify(drawn(rng, q.double()), q, p, generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    what = f"the first tokens for a draft in {kinds[0]} and a target in {kinds[1]}"
    expect_distribution(tokens[:, 0], p[0, 0].double() / p[0, 0].double().sum(), what=what, hint=KEEP)


def test_an_empty_residual_is_no_error(rng):
    """The target's probability of the drafted token was rounded to 0, and the others are the draft's: nothing is missing."""
    q, p = numbers(0.6, 0.395, 0.005), numbers(0.6, 0.395, 0)
    drafted = torch.full((DRAWS, 1), 2)
    with called_for("a place where max(p - q, 0) is 0 everywhere", hint="then draw from p"):
        tokens, counts = verify(drafted, repeated(q, DRAWS, 1), repeated(p, DRAWS, 2), generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    expect_equal(int(counts.max()), 1, what="the largest count where the drafted token has p = 0", hint=KEEP)
    what = "the replacements where max(p - q, 0) is 0 everywhere"
    expect_distribution(tokens[:, 0], p / p.sum(), what=what, hint="then draw from p")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decisions_are_finer_than_a_half_dtype(rng, dtype):
    """p / q = 2^-20. In a half dtype one uniform draw in 256, or in 2048, is exactly 0, and below any ratio."""
    n = 20000
    p, q = numbers(1, 2**-20).to(dtype), numbers(0, 1).to(dtype)
    drafted = torch.ones(n, 1, dtype=torch.int64)
    _, counts = verify(drafted, repeated(q, n, 1), repeated(p, n, 2), generator=rng)
    kept = int((counts == 2).sum())  # more than 3 with a probability of 1e-7
    sentence = f"where p / q is 2^-20 in {dtype}, nearly none of {n} drafts should be kept, but {kept} were"
    expect(kept <= 3, sentence, hint="draw u in float32, and cast p and q up")


def test_ratios_are_finer_than_a_half_dtype(rng):
    """170 / 171 has no bfloat16: the next one is 255 / 256, which refuses a third less."""
    n = 100000
    p, q = (torch.tensor([part / 256, 1 - part / 256], dtype=torch.bfloat16) for part in (170, 171))
    drafted = torch.zeros(n, 1, dtype=torch.int64)
    _, counts = verify(drafted, repeated(q, n, 1), repeated(p, n, 2), generator=rng)
    what = "the counts less 1 where p / q is 170 / 171, in torch.bfloat16,"
    expect_distribution(counts - 1, numbers(1 / 171, 170 / 171), what=what, hint="cast p and q up before you divide")


@pytest.mark.parametrize(("dtype", "tiny"), [(torch.float32, 1e-30), (torch.float64, 1e-200), (torch.float16, 6e-8)])
def test_tiny_probabilities_are_compared_as_they_are(rng, dtype, tiny):
    """p and q of 1e-30 are a ratio like any other, and nothing may be added to a denominator."""
    p, q = numbers(1 - tiny, tiny / 2 if dtype != torch.float16 else tiny).to(dtype), numbers(1 - tiny, tiny).to(dtype)
    kept = (p[1].double() / q[1].double()).item()
    drafted = torch.ones(DRAWS, 1, dtype=torch.int64)
    _, counts = verify(drafted, repeated(q, DRAWS, 1), repeated(p, DRAWS, 2), generator=rng)
    what = f"the counts less 1 where p and q are about {tiny:g}, in {dtype},"
    expect_distribution(
        counts - 1, numbers(1 - kept, kept), what=what, hint="no epsilon, nothing narrower: compare u * q with p"
    )


def test_a_tiny_residual_is_still_one(rng):
    """1e-30 is all that is missing, and all of it is of token 2. p is drawn from only where nothing is left."""
    q, p = torch.tensor([1, 1e-30, 0]), torch.tensor([1, 0, 1e-30])
    drafted = torch.ones(DRAWS, 1, dtype=torch.int64)
    tokens, counts = verify(drafted, repeated(q, DRAWS, 1), repeated(p, DRAWS, 2), generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    what = "the replacements where max(p - q, 0) is 1e-30 at token 2, and 0 elsewhere"
    expect_distribution(
        tokens[:, 0], numbers(0, 0, 1), what=what, hint="compare its sum with 0, not with a small number"
    )


def test_a_draw_of_0_keeps_no_token_of_probability_0(rng):
    """In float32 one uniform draw in 2^24 is exactly 0, which is not below 0 / q."""
    p, q = numbers(0.5, 0.5, 0), numbers(0.2, 0.2, 0.6)
    drafted = torch.full((20, 2), 2)
    with ZeroDraws():
        _, counts = verify(drafted, repeated(q, 20, 2), repeated(p, 20, 3), generator=rng)
    what = "the largest count where u = 0 and the first drafted token has p = 0"
    expect_equal(int(counts.max()), 1, what=what, hint="u < p / q, not u <= p / q")


def test_a_draft_that_says_it_could_not_have_been(rng):
    """q(x) = 0, as a filter that was applied after the draw has it: kept where p(x) > 0, and never an error."""
    p, q = numbers(0.5, 0.5), numbers(1.0, 0.0)
    drafted = torch.ones(DRAWS, 1, dtype=torch.int64)
    tokens, counts = verify(drafted, repeated(q, DRAWS, 1), repeated(p, DRAWS, 2), generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    expect_equal(int(counts.min()), 2, what="the smallest count where q(x) = 0 and p(x) > 0", hint="min(1, p / 0) is 1")


def test_a_token_that_neither_could_say_is_refused(rng):
    """p(x) = q(x) = 0: 0 / 0 is no number, and each comparison with it is false."""
    p, q = numbers(1.0, 0.0), numbers(1.0, 0.0)
    drafted = torch.ones(DRAWS, 1, dtype=torch.int64)
    tokens, counts = verify(drafted, repeated(q, DRAWS, 1), repeated(p, DRAWS, 2), generator=rng)
    expect_form(tokens, counts, DRAWS, 1)
    hint = "p(x) = 0 is never kept: u * q(x) < p(x) needs no division"
    expect_equal(int(counts.max()), 1, what="the largest count where p(x) = q(x) = 0", hint=hint)
    expect_equal(int(tokens[:, 0].max()), 0, what="the largest token in its place, where only 0 has p > 0")


@pytest.mark.parametrize("gamma", [0, 4])
def test_the_generator_decides_every_draw(rng, gamma):
    """Decisions, replacements and the last token."""
    q, p = distributions(rng, 60, gamma, 6), distributions(rng, 60, gamma + 1, 6)
    drafted = drawn(rng, q) if gamma else torch.zeros(60, 0, dtype=torch.int64)
    expect_seeded(lambda generator: verify(drafted, q, p, generator=generator)[0], what=f"verify with gamma = {gamma}")
