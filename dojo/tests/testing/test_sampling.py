"""Random inputs, and the check of a sampler's distribution."""

import pytest
import torch

from dojo.testing import Wrong, draw, expect_distribution, randint, randn
from dojo.testing.chi_square import fit_p_value


def message_of(draws, probs, **keywords):
    """The message with which expect_distribution fails."""
    with pytest.raises(Wrong) as error:
        expect_distribution(draws, probs, **keywords)
    return str(error.value)


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


# expect_distribution


PROBS = t(0.5, 0.25, 0.125, 0.125, 0.0)


def sample(probs, n, seed=0):
    return torch.multinomial(probs, n, replacement=True, generator=torch.Generator().manual_seed(seed))


def test_right_draws_pass():
    """In any shape and integer dtype."""
    expect_distribution(sample(PROBS, 4000), PROBS)
    expect_distribution(sample(PROBS, 4000).reshape(40, 100).int(), PROBS)


def test_biased_draws_fail_with_the_category_and_both_shares():
    """The support is right and the probabilities are wrong."""
    sentence = message_of(sample(t(0.4, 0.35, 0.125, 0.125, 0), 4000), PROBS, what="tokens", hint="h")
    assert "tokens should be 1 with probability 0.2500, but were so 0.3" in sentence
    assert "chi-square over 4000 draws" in sentence
    assert sentence.endswith("hint: h")


def test_a_single_impossible_draw_fails():
    """A draw of probability 0 needs no statistics."""
    draws = sample(PROBS, 4000)
    draws[17] = 4
    sentence = message_of(draws, PROBS, what="tokens")
    assert sentence == "tokens should never be 4 (its probability is 0), but were 1 of 4000 times"


@pytest.mark.parametrize("outside", [-1, 5, 10**12])
def test_a_draw_out_of_range_fails(outside):
    """A huge number must not allocate a terabyte of counters."""
    draws = sample(PROBS, 100)
    draws[3] = outside
    assert "should lie in [0, 5), but reach from" in message_of(draws, PROBS)


@pytest.mark.parametrize(
    "draws", [torch.rand(10), torch.rand(10) > 0.5, [0, 1], None], ids=["float", "bool", "list", "None"]
)
def test_draws_that_are_no_integers_fail(draws):
    """Probabilities instead of tokens."""
    assert "should be an integer tensor" in message_of(draws, PROBS)


def test_no_draws_fail():
    """A sampler that returns nothing is wrong."""
    assert "empty" in message_of(torch.zeros(0, dtype=torch.int64), PROBS)


def test_a_certain_outcome_passes_and_anything_else_fails():
    """Greedy decoding has one category of probability 1."""
    expect_distribution(torch.ones(50, dtype=torch.int64), t(0, 1))
    assert "should never be 0" in message_of(torch.zeros(50, dtype=torch.int64), t(0, 1))


@pytest.mark.parametrize(
    "probs",
    [t(0.2, 0.3, 0.5), torch.full((50,), 0.02, dtype=torch.float64), t(0.6, 0.39, 0.008, 0.0015, 0.0005)],
    ids=["three", "fifty", "rare ones"],
)
def test_false_alarms_are_as_rare_as_promised(probs):
    """At a level of 1 in 100, 2000 right samplers: 20 alarms expected, more than 40 has probability 1e-5."""
    counts = torch.distributions.Multinomial(2000, probs)
    torch.manual_seed(0)
    alarms = sum(fit_p_value(row, probs) < 0.01 for row in counts.sample((2000,)))
    assert 4 <= alarms <= 40


def test_a_rare_token_that_turns_up_is_no_alarm():
    """A right sampler draws a token of probability 1e-6 in one of 250 runs."""
    probs = t(0.6, 0.399999, 1e-6)
    draws = torch.cat([sample(t(0.6, 0.4), 3999), torch.tensor([2])])
    expect_distribution(draws, probs)


def test_the_false_alarm_rate_can_be_set():
    """Draws whose p-value is 0.011 pass at 1e-6 and fail at 0.05."""
    draws = torch.tensor([0] * 540 + [1] * 460)  # p = 0.011
    expect_distribution(draws, t(0.5, 0.5))
    assert "p = 1.1e-02" in message_of(draws, t(0.5, 0.5), false_alarm=0.05)


@pytest.mark.parametrize("counts", [[100, 200, 300], [100, 100, 100, 130], [50, 60, 70, 80, 100]])
def test_the_p_value_is_scipys(counts):
    """Without rare categories it is Pearson's test."""
    stats = pytest.importorskip("scipy.stats")
    probs = torch.linspace(1, 2, len(counts), dtype=torch.float64)
    probs = probs / probs.sum()
    want = stats.chisquare(counts, (probs * sum(counts)).tolist()).pvalue
    assert fit_p_value(t(*counts), probs) == pytest.approx(want, rel=1e-9)


def test_one_category_always_fits():
    """A sampler with one category has no choice."""
    assert fit_p_value(t(100.0), t(1.0)) == 1.0


# Inputs


def test_every_dtype_sees_the_same_numbers():
    """So tests in float16 and float64 have the same inputs."""
    wide, narrow = (randn(torch.Generator().manual_seed(3), 4, dtype=d) for d in (torch.float64, torch.float16))
    assert torch.equal(wide.half(), narrow)
    assert narrow.dtype == torch.float16


def test_whole_numbers_lie_in_their_interval():
    """The upper end is excluded."""
    drawn = randint(torch.Generator().manual_seed(0), 2, 5, 100)
    assert set(drawn.tolist()) == {2, 3, 4}
    assert drawn.dtype == torch.int64


def test_draw_calls_until_it_has_enough():
    """A sampler may return any number per call."""
    calls = []
    drawn = draw(lambda: calls.append(1) or torch.zeros(3, 2), at_least=13)
    assert drawn.shape == (18,)
    assert len(calls) == 3
