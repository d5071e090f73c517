"""Stage 1. One distribution, two ways to draw."""

import pytest

from dojo.testing import expect_close, expect_distribution, numbers, randn
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs

N = 4000


@pytest.mark.parametrize(("temperature", "weights"), [(1.0, (2, 4, 1)), (0.5, (4, 16, 1)), (2.0, (2**0.5, 2, 1))])
def test_a_worked_example(temperature, weights):
    """Logits log [2, 4, 1]: at T = 1 the odds are 2 : 4 : 1, at T = 1/2 their squares, at T = 2 their square roots."""
    expect_close(
        temperature_probs(numbers(2, 4, 1).log(), temperature),
        numbers(*weights) / sum(weights),
        what=f"temperature_probs(log [2, 4, 1], T={temperature})",
        hint="divide the logits by T, then one softmax: not T times the logits, and not probabilities divided by T",
    )


def test_log_odds_grow_by_one_over_t(rng):
    """log(p_i / p_j) = (z_i - z_j) / T is all that temperature does, for every pair and every T."""
    logits = randn(rng, 3, 7)
    for temperature in (0.3, 1.0, 1.7, 4.0):
        log_probs = temperature_probs(logits, temperature).log()
        expect_close(
            log_probs - log_probs[:, :1],
            (logits - logits[:, :1]) / temperature,
            what=f"the log-odds against token 0 at T={temperature}",
            hint="the temperature belongs inside the softmax: softmax(logits / T)",
        )


def test_tokens_follow_their_probabilities():
    """A token is *drawn*; the likeliest is only the likeliest. Chi-square, N = 4000: 1e-6 false alarms."""
    probs = numbers(0.1, 0.0, 0.45, 0.05, 0.4, 0.0)
    expect_distribution(
        sample_token(probs.expand(N, -1)),
        probs,
        what="tokens drawn by sample_token",
        hint="draw with the probabilities as they are: no argmax, no second softmax",
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_the_gumbel_trick_draws_from_the_softmax(temperature):
    """The trick must give the very distribution above, also where T is not 1. Chi-square, N = 4000: 1e-6 false alarms."""
    odds = numbers(1, 5, 2, 10, 0.5)
    weights = odds ** (1 / temperature)
    expect_distribution(
        gumbel_sample(odds.log().expand(N, -1), temperature),
        weights / weights.sum(),
        what=f"tokens drawn by gumbel_sample at T={temperature}",
        hint="argmax(logits / T - log(-log u)): the noise is Gumbel and is not divided by T, one number for every token",
    )


def test_the_default_temperature_is_one():
    """T = 1 is the model's own distribution. Chi-square, N = 4000: 1e-6 false alarms."""
    odds = numbers(1, 4, 2)
    expect_distribution(
        gumbel_sample(odds.log().expand(N, -1)),
        odds / 7,
        what="tokens drawn by gumbel_sample(logits)",
        hint="temperature defaults to 1.0",
    )
