"""Stage 1. The three formulas and their sum."""

import math

import pytest
import torch

from dojo.testing import backward, expect, expect_close, numbers, randn
from dojo.testing.diffusion import expect_normal

from .helpers import DIRECTLY, ELBO, KL, NLL, SIGMA, elbo, expect_standard_normal, half_log, kl, nll, noise_in, sample

LATENTS = [(0.0, 0.0, "0"), (3.0, math.log(4), "log 4"), (-2.0, -math.log(9), "-log 9"), (0.5, 2.0, "2")]


@pytest.mark.parametrize(("mean", "logvar", "text"), LATENTS, ids=str)
def test_samples_have_this_mean_and_this_sigma(mean, logvar, text):
    """4000 draws. A logvar of log 4 is a variance of 4, so a sigma of 2."""
    draws = sample(torch.full((40, 100), mean).double(), torch.full((40, 100), logvar).double())
    expect_normal(draws, mean, math.exp(logvar / 2), what=f"samples for mean={mean:g}, logvar={text}", hint=SIGMA)


def test_the_noise_is_normal():
    """Mean and sigma do not tell a uniform distribution from a normal one. Of 40 000 draws, 55 lie beyond 3.2 on average:
    none does once in 1e23 runs."""
    noise = noise_in(torch.zeros(200, 200).double(), torch.zeros(200, 200).double())
    hint = "torch.randn, not torch.rand, and no clamp"
    expect_standard_normal(noise, what="mean=0, logvar=0", hint=hint)
    most = noise.abs().max().item()
    expect(
        most > 3.2, f"of 40 000 normal numbers, some should lie beyond 3.2, but {most:.4f} is the largest", hint=hint
    )


def test_every_latent_has_noise_of_its_own(rng):
    """35 latents, 35 numbers, and others in the next call."""
    mean, logvar = randn(rng, 2, 5, 7)
    noise, following = noise_in(mean, logvar), noise_in(mean, logvar)
    for what, axis in (("elements of the batch", 0), ("latents of an element", 1)):
        spread = noise.std(axis).min().item()
        expect(spread > 1e-9, f"the noise should differ between the {what}, but some of it is shared", hint=DIRECTLY)
    count = len(noise.flatten().round(decimals=9).unique())
    expect(count == 35, f"35 latents should have 35 different numbers as noise, but have {count}", hint=DIRECTLY)
    differ = bool((noise - following).abs().min() > 1e-12)
    expect(differ, "the next call should draw other noise, but some is the same", hint="do not seed anything")


def test_gradients_pass_through_the_sample(rng):
    """The reason to reparameterise. Moving the mean by d moves the sample by d, and the sample is mean + exp(logvar / 2)
    noise, so its slope by the logvar is half of its distance from the mean. torch.normal(mean, std) has a graph and
    gives zeros."""
    mean, logvar = (each.requires_grad_() for each in randn(rng, 2, 4, 3))
    got = sample(mean, logvar)
    backward(got.sum(), what="the sample")
    for name, leaf, slope in (("mean", mean, torch.ones_like(mean)), ("logvar", logvar, (got - mean).detach() / 2)):
        expect(leaf.grad is not None, f"the sample should have a gradient by {name}, but has none", hint=DIRECTLY)
        expect_close(leaf.grad, slope, what=f"the gradient of the sample by {name}", hint=DIRECTLY)


@pytest.mark.parametrize(
    ("mean", "logvar", "text", "want"),
    [
        (0.0, 0.0, "0", 0.0),
        (2.0, 0.0, "0", 2.0),
        (-3.0, 0.0, "0", 4.5),
        (0.0, math.log(4), "log 4", (3 - math.log(4)) / 2),
        (0.0, -math.log(4), "-log 4", (math.log(4) - 3 / 4) / 2),
        (1.0, 1.0, "1", (math.e - 1) / 2),
    ],
    ids=str,
)
def test_a_worked_kl(mean, logvar, text, want):
    """One latent. For logvar = 0 it is half of the squared mean, and 0 only where the posterior is the prior."""
    got = kl(numbers(mean)[None], numbers(logvar)[None])
    expect_close(got, numbers(want), what=f"the KL of one latent with mean={mean:g}, logvar={text}", hint=KL)


def test_the_kl_is_the_mean_of_a_difference_of_logarithms(rng):
    """KL = E_q[log q(z) - log p(z)]. The difference is quadratic in z, so two points at mean - sigma and mean + sigma
    have its exact mean."""
    mean, logvar = randn(rng, 2, 5, 1)
    q, prior = torch.distributions.Normal(mean, logvar.mul(0.5).exp()), torch.distributions.Normal(0.0, 1.0)
    points = torch.stack([q.mean - q.stddev, q.mean + q.stddev])
    want = (q.log_prob(points) - prior.log_prob(points)).mean(0)[:, 0]
    expect_close(kl(mean, logvar), want, what="the KL, against E_q[log q - log p]", hint=KL)


def test_the_kl_is_a_sum_over_latents(rng):
    """5 elements of 3 latents, against each latent alone: independent latents add up."""
    mean, logvar = randn(rng, 2, 5, 3)
    want = sum(kl(mean[:, i : i + 1], logvar[:, i : i + 1]) for i in range(3))
    hint = "sum over the latents, no mean, and nothing over the batch"
    expect_close(kl(mean, logvar), want, what="the KL of 3 latents, against the sum of their KLs", hint=hint)


@pytest.mark.parametrize(
    ("x", "r", "s", "want"),
    [
        (2.0, 2.0, 1.0, half_log(1)),
        (3.0, 1.0, 1.0, 2 + half_log(1)),
        (1.0, 2.0, 2.0, 1 / 8 + half_log(4)),
        (2.5, 2.5, 0.1, half_log(0.01)),
        (-1.0, 0.5, 0.5, 4.5 + half_log(0.25)),
    ],
    ids=str,
)
def test_a_worked_nll(x, r, s, want):
    """One number. With noise_std = 0.1 a perfect reconstruction has a density above 1, so a negative NLL."""
    got = nll(numbers(x)[None], numbers(r)[None], s)
    expect_close(got, numbers(want), what=f"the NLL of x={x:g} with reconstruction={r:g}, noise_std={s:g}", hint=NLL)


@pytest.mark.parametrize("s", [0.25, 1.0, 3.0])
def test_the_likelihood_is_a_density(s):
    """Over all x the probabilities add up to 1. The grid reaches 12 standard deviations, in steps of 1/8 of one: its sum
    is exact to the last digits. Without a constant, or with another, it is not 1."""
    x = torch.arange(-96, 97).double()[:, None] * s / 8
    got = nll(x + 0.7, torch.full_like(x, 0.7), s).neg().exp().sum() * s / 8
    what = f"the integral of exp(-gaussian_nll) over x with noise_std={s:g}"
    expect_close(got, numbers(1)[0], what=what, hint=f"the constant is log(2 pi s^2) / 2. {NLL}")


def test_the_nll_is_a_sum_over_numbers(rng):
    """4 elements of 3 numbers, against each number alone: the constant, too, counts for each of them."""
    x, r = randn(rng, 2, 4, 3)
    want = sum(nll(x[:, i : i + 1], r[:, i : i + 1], 0.5) for i in range(3))
    hint = "sum over the numbers of an element, no mean, and nothing over the batch; one constant for each number"
    expect_close(nll(x, r, 0.5), want, what="the NLL of 3 numbers, against the sum of their NLLs", hint=hint)


def test_noise_std_is_1_by_default(rng):
    x, r, mean, logvar = randn(rng, 4, 2, 3)
    expect_close(nll(x, r), nll(x, r, 1.0), what="gaussian_nll without a noise_std, against noise_std=1")
    got, want = elbo(x, r, mean, logvar), elbo(x, r, mean, logvar, noise_std=1.0, beta=1.0)
    expect_close(got, want, what="negative_elbo without options, against noise_std=1, beta=1")


def test_a_worked_loss():
    """Two elements of one number and one latent each. NLLs 2 and 0 beside the constant, KLs 1/2 and 4.5."""
    given = numbers(3, 1)[:, None], numbers(1, 1)[:, None], numbers(1, 3)[:, None], numbers(0, 0)[:, None]
    want = numbers((2 + 0 + 0.5 + 4.5) / 2 + half_log(1))[0]
    expect_close(elbo(*given), want, what="negative_elbo of two elements", hint=ELBO)


def test_the_loss_is_the_mean_over_the_batch(rng):
    """Of 3 elements with 4 numbers and 2 latents each, against the two terms of each alone."""
    x, r, mean, logvar = randn(rng, 3, 4), randn(rng, 3, 4), randn(rng, 3, 2), randn(rng, 3, 2)
    rows = [slice(i, i + 1) for i in range(3)]
    want = torch.cat([nll(x[i], r[i]) + kl(mean[i], logvar[i]) for i in rows]).mean()
    got = elbo(x, r, mean, logvar)
    expect_close(got, want, what="negative_elbo, against the mean of NLL + KL of each element", hint=ELBO)


@pytest.mark.parametrize("spread", [1.0, 0.3])
def test_the_bound_is_tight_for_a_linear_decoder(rng, spread):
    """x = W z + noise has a known likelihood, N(x; 0, W W^T + s^2 I), and a known posterior of z. With that posterior the
    expected negative ELBO is -log p(x) exactly. It is quadratic in z, so a batch of two, with z at mean - sigma and at
    mean + sigma, has its exact mean. Any factor, sign or constant that is wrong shows here."""
    w, x = randn(rng, 2, 4)
    variance = 1 / (1 + (w @ w) / spread**2)
    mean = variance * (w @ x) / spread**2
    z = mean + variance.sqrt() * numbers(-1, 1)
    latents = mean.expand(2, 1), variance.log().expand(2, 1)
    got = elbo(x.expand(2, 4), z[:, None] * w, *latents, noise_std=spread)
    covariance = torch.outer(w, w) + spread**2 * torch.eye(4).double()
    want = -torch.distributions.MultivariateNormal(torch.zeros(4).double(), covariance).log_prob(x)
    what = f"the expected negative_elbo of a linear decoder with noise_std={spread:g}, against -log p(x)"
    expect_close(got, want, what=what, hint=f"all sums, signs and constants matter: {ELBO}")
