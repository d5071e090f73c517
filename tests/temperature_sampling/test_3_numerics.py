"""Stage 3. Numerics, dtypes, generators."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_seeded,
    expect_unchanged,
    numbers,
    randn,
)
from katas.temperature_sampling import gumbel_sample, sample_token, temperature_probs

N = 4000


INF = float("inf")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Probabilities keep the dtype of their logits. Logits are multiples of 1/8, exact in every dtype; two roundings
    (of z / T and of p) are allowed: 3 units of the last place of numbers up to 4, on top of torch's tolerance."""
    logits = torch.rand(4, 9, generator=rng, dtype=torch.float64).argsort(-1).double() / 8
    slack = 1e-6 + 12 * torch.finfo(dtype).eps
    for temperature in (0.0, 0.5, 2.0):
        probs = temperature_probs(logits.to(dtype), temperature)
        expect_equal(probs.dtype, dtype, what=f"the dtype of temperature_probs(T={temperature})", hint="convert back")
        expect_close(
            probs.double(),
            temperature_probs(logits, temperature),
            what=f"temperature_probs of {dtype} logits at T={temperature}, beside float64",
            rtol=slack,
            atol=slack,
        )
    for sampler, row in ((sample_token, numbers(0.25, 0.5, 0, 0.25)), (gumbel_sample, numbers(0, 1, -INF, 0))):
        odds = row if sampler is sample_token else row.exp()
        expect_distribution(
            sampler(row.to(dtype).expand(N, -1)),
            odds / odds.sum(),
            what=f"tokens drawn by {sampler.__name__} in {dtype}",
        )


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("height", [3e4, -3e4])
def test_huge_logits_stay_finite(dtype, height):
    """exp(3e4) overflows in any dtype, and 3e4 / T overflows float16 for T < 0.46. Only differences matter."""
    logits = (height + torch.tensor([0.0, -256.0, 0.0, -512.0])).to(dtype)
    want = torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=dtype)
    hint = (
        "subtract each row's maximum, or widen to float32, before you divide by a small T. Most published samplers fail "
        "here: the logits of real models stay below 100, so 3e4 / T never meets float16's largest number, 65504"
    )
    for temperature in (1.0, 1e-3, 1e-6):
        what = f"{dtype} logits around {height:g} at T={temperature}"
        expect_close(temperature_probs(logits, temperature), want, what=f"temperature_probs of {what}", hint=hint)
        tokens = gumbel_sample(logits.expand(300, -1), temperature)
        expect_equal(set(tokens.tolist()) - {0, 2}, set(), what=f"tokens drawn from {what}, beside 0 and 2", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("temperature", [3e4, 1e6])
def test_a_wide_row_at_a_high_temperature(temperature, dtype):
    """Logits 6e4 apart at T = 3e4: odds of e^2 to 1. Probabilities at T = 1 have already underflowed to 0 by then, so
    raising *them* to the power 1/T comes too late. And 1e6 is infinite in float16."""
    logits = numbers(3e4, -3e4, dtype=dtype)
    expect_close(
        temperature_probs(logits, temperature),
        torch.softmax(logits.double() / temperature, -1).to(dtype),
        what=f"temperature_probs([3e4, -3e4], T={temperature:g}) in {dtype}",
        hint="divide the logits, not probabilities or their powers: exp(-6e4) is 0 and stays 0",
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_banned_tokens_stay_banned(dtype):
    """-inf minus a finite maximum is -inf, and its exponential exactly 0; a mean or a sum in its place gives NaN, and a
    large finite number is a probability again at a high temperature."""
    logits = numbers(-INF, 1.0, -INF, 1.0, dtype=dtype)
    for temperature in (1e-6, 0.1, 1.0, 30.0, 1e6):
        expect_close(
            temperature_probs(logits, temperature),
            numbers(0, 0.5, 0, 0.5, dtype=dtype),
            what=f"temperature_probs([-inf, 1, -inf, 1], T={temperature:g}) in {dtype}",
            hint="a logit of -inf has probability 0, at every temperature",
        )
        expect_equal(
            set(gumbel_sample(logits.expand(500, -1), temperature).tolist()),
            {1, 3},
            what=f"the tokens drawn by gumbel_sample from {dtype} logits at T={temperature:g}",
            hint="-inf + noise is still -inf",
        )
    expect_equal(
        temperature_probs(logits, 0.0),
        numbers(0, 1, 0, 0, dtype=dtype),
        what=f"temperature_probs([-inf, 1, -inf, 1], T=0) in {dtype}",
        hint="T=0: 1.0 at logits.argmax(-1)",
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gumbel_noise_survives_half_precision(dtype):
    """Two equal logits of 3e4, where half precision has steps of 16 or 128: noise added there is lost, and token 0
    always wins. And with u on a grid of 1/256 a token loses with g = -inf once in 256 draws, however likely it is:
    N = 400000 draws of a token with probability 1e-4 show it. Chi-square: 1e-6 false alarms."""
    hint = "draw the noise and add it in float32: convert the logits first"
    expect_distribution(
        gumbel_sample(torch.full((N, 2), 3e4, dtype=dtype)),
        numbers(0.5, 0.5),
        what=f"tokens drawn by gumbel_sample from {dtype} logits [3e4, 3e4]",
        hint=hint,
    )
    logits = torch.tensor([9.1875, 0.0], dtype=dtype)  # exact in both dtypes
    expect_distribution(
        gumbel_sample(logits.expand(400_000, -1)),
        logits.double().softmax(-1),
        what=f"tokens drawn by gumbel_sample from {dtype} logits [9.1875, 0]",
        hint=hint,
    )


def test_the_arguments_are_not_modified(rng):
    """The caller still needs the logits, for the log-probability of what was drawn."""
    logits = randn(rng, 3, 8)
    probs = randn(rng, 3, 8).softmax(-1)
    with expect_unchanged(logits, probs, what="an argument"):
        for temperature in (0.0, 0.7, 1.0):
            temperature_probs(logits, temperature).fill_(0.0)  # the result is a new tensor
            gumbel_sample(logits, temperature)
        sample_token(probs)


def test_views_with_any_strides_work(rng):
    """Logits often arrive as a slice `[:, -1, :]` or a transpose."""
    dense = torch.rand(5, 4, 6, generator=rng, dtype=torch.float64).argsort(-1).double() * 50
    view = dense.transpose(0, 2).contiguous().transpose(0, 2)  # the same numbers, not contiguous
    best = dense.argmax(-1)
    hint = "reshape, not view"
    expect_close(temperature_probs(view, 2.0), temperature_probs(dense, 2.0), what="probabilities of a transpose")
    expect_equal(gumbel_sample(view), best, what="tokens of a transpose, the best 50 above the rest", hint=hint)
    one_hot = (view == view.amax(-1, keepdim=True)).double()
    expect_equal(sample_token(one_hot), best, what="sample_token of one-hot rows, a transpose", hint=hint)


@pytest.mark.parametrize("sampler", [sample_token, gumbel_sample], ids=lambda sampler: sampler.__name__)
def test_the_generator_is_the_only_source_of_randomness(sampler):
    """Equal generators give equal tokens, the global stream is not advanced, and the generator itself is."""
    flat = torch.full((64, 8), 1 / 8, dtype=torch.float64)
    expect_seeded(lambda generator: sampler(flat, generator=generator), what=f"{sampler.__name__} of 64 rows")
