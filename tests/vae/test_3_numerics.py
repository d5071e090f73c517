"""Stage 3. Every floating dtype, extremes, gradients, generators."""

import math

import pytest
import torch

from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_graph,
    expect_seeded,
    numbers,
    randn,
    roundings,
)
from katas.vae import gaussian_nll, kl_to_standard_normal

from .helpers import DIRECTLY, KL, NLL, SIGMA, elbo, expect_standard_normal, half_log, kl, nll, noise_in, sample, shared

EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
WIDEN = "x.to(torch.promote_types(x.dtype, torch.float32)) before the first operation"
HALVE = (
    "halve the logvar before exp: exp(logvar) leaves the range of float16 from 11.1 on, and its root cannot repair it"
)


def wide(dtype):
    """The dtype of everything but samples."""
    return torch.promote_types(dtype, torch.float32)


@EVERY
def test_a_sample_has_the_dtype_of_the_latents(rng, dtype):
    mean, logvar = randn(rng, 2, 3, 4).to(dtype)
    expect_equal(sample(mean, logvar).dtype, dtype, what=f"the dtype of a sample of {dtype} latents", hint=DIRECTLY)


def test_samples_of_float64_keep_their_digits(rng):
    """A sum of float64 numbers is a float32 number once in 2^29 cases."""
    got = sample(*randn(rng, 2, 3, 4))
    rounded = bool((got == got.float()).all())
    hint = "no .float() on the way; torch.randn(..., dtype=mean.dtype)"
    expect(
        not rounded, "samples of float64 latents should have float64's digits, but all are float32 numbers", hint=hint
    )


@EVERY
def test_terms_and_loss_are_float32_at_least(rng, dtype):
    """Against float64, with inputs that are multiples of 1/4 and so exact in every dtype. Tolerance: 16 roundings of the
    largest number."""
    given = [(4 * each).round() / 4 for each in shared((3, 4), (3, 2), rng)]
    narrow = [each.to(dtype) for each in given]
    for what, got, want in (
        ("kl_to_standard_normal", kl(*narrow[2:]), kl(*given[2:])),
        ("gaussian_nll with noise_std=0.5", nll(*narrow[:2], 0.5), nll(*given[:2], 0.5)),
        ("negative_elbo", elbo(*narrow), elbo(*given)),
    ):
        expect_equal(got.dtype, wide(dtype), what=f"the dtype of {what} of {dtype} tensors", hint=WIDEN)
        close = roundings(16, wide(dtype), want)
        expect_close(got.double(), want, what=f"{what} of {dtype} tensors, beside float64", hint=WIDEN, **close)


@EVERY
@pytest.mark.parametrize("logvar", [-20.0, 20.0])
def test_extreme_logvars_sample(dtype, logvar):
    """sigma is exp(10) or exp(-10), both in the range of float16; their squares are not. Samples beyond 65504 are
    infinite in float16, and rare enough to be counted in the outermost eighth."""
    wide_latents = torch.zeros(40, 100, dtype=dtype), torch.full((40, 100), logvar, dtype=dtype)
    noise = noise_in(*wide_latents)
    expect_standard_normal(noise, what=f"mean=0, logvar={logvar:g} in {dtype}", hint=HALVE)


@EVERY
@pytest.mark.parametrize("logvar", [-20.0, -12.0, 12.0, 20.0])
def test_extreme_logvars_have_a_kl(dtype, logvar):
    """exp(20) is 4.9e8, infinite in float16. Tolerance: 4 roundings of the largest number, beside torch's own."""
    want = (math.exp(logvar) - 1 - logvar + 4) / 2
    got = kl(numbers(-2, dtype=dtype)[None], numbers(logvar, dtype=dtype)[None])
    expect_equal(got.dtype, wide(dtype), what=f"the dtype of a KL of {dtype} latents", hint=WIDEN)
    close = {"rtol": 8 * torch.finfo(wide(dtype)).eps, "atol": 0.0}
    what = f"the KL of one latent with mean=-2, logvar={logvar:g} in {dtype}"
    expect_close(got.double(), numbers(want), what=what, hint=f"no clamp, and widen first. {WIDEN}", **close)


@EVERY
def test_large_means_and_errors(dtype):
    """300 squared is 90000, infinite in float16. -130 and -1.0078125 are exact in every dtype, their difference is not.
    Tolerance: 4 roundings of the result."""
    close = {"rtol": 4 * torch.finfo(wide(dtype)).eps, "atol": 0.0}
    got = kl(numbers(300, dtype=dtype)[None], numbers(0, dtype=dtype)[None])
    want = numbers(45000, dtype=wide(dtype))
    expect_close(got, want, what=f"the KL of one latent with mean=300, logvar=0 in {dtype}", hint=WIDEN, **close)
    for x, r in ((300.0, 0.0), (-130.0, -1.0078125)):
        want = numbers((x - r) ** 2 / 2 + half_log(1), dtype=wide(dtype))
        got = nll(numbers(x, dtype=dtype)[None], numbers(r, dtype=dtype)[None])
        expect_close(got, want, what=f"the NLL of x={x:g}, reconstruction={r} in {dtype}", hint=WIDEN, **close)


@EVERY
def test_many_numbers_lose_no_digits(dtype):
    """A picture of 4096 numbers, each of NLL 1.0439 or KL 0.0156: a sum in half precision stops growing, and each number
    is off by up to 0.004. Tolerance: as many roundings as a running sum of them makes, at most."""
    zero, half = torch.zeros(1, 4096, dtype=dtype), torch.full((1, 4096), 0.5, dtype=dtype)
    eighth = torch.full((1, 4096), 0.125, dtype=dtype)
    of_nll, of_kl = 4096 * (0.125 + half_log(1)), 4096 * (0.125**2 + math.expm1(0.125) - 0.125) / 2
    for what, got, want in (("NLL", nll(zero, half), of_nll), ("KL", kl(eighth, eighth), of_kl)):
        close = roundings(64, wide(dtype), 2 * 4096)
        what = f"the {what} of 4096 numbers in {dtype}"
        expect_close(got.double(), numbers(want), what=what, hint=WIDEN, **close)


@EVERY
@pytest.mark.parametrize("noise_std", [1e-4, 0.01, 100.0, 1e4])
def test_small_and_large_noise(dtype, noise_std):
    """noise_std^2 is 1e-8, where an eps would change it. Errors of 1/64. Tolerance: 32 roundings of the result, since
    exp(2 log s) has one for each unit of the exponent, up to 18."""
    want = numbers(2 * (2.0**-12 / (2 * noise_std**2) + half_log(noise_std**2)))
    x, r = (torch.full((1, 2), value, dtype=dtype) for value in (1.0, 1 - 2.0**-6))
    got = nll(x, r, noise_std)
    expect_equal(got.dtype, wide(dtype), what=f"the dtype of an NLL of {dtype} images", hint=WIDEN)
    close = {"rtol": 32 * torch.finfo(wide(dtype)).eps, "atol": 0.0}
    hint = f"no eps and no lower limit for the variance. {NLL}"
    expect_close(
        got.double(), want, what=f"the NLL of errors 1/64, noise_std={noise_std:g}, {dtype}", hint=hint, **close
    )


def test_float64_keeps_its_digits():
    """float32 has 7 of them, also where it is only used for the noise: 1/3 of a latent, 1/7 of an error."""
    third, seventh = numbers(1 / 3)[None], numbers(1 / 7)[None]
    close = roundings(4, torch.float64, 2)
    want = numbers((1 / 9 + math.exp(1 / 3) - 1 - 1 / 3) / 2)
    expect_close(kl(third, third), want, what="the KL of mean=1/3, logvar=1/3 in float64", hint=WIDEN, **close)
    want = numbers(1 / 98 + half_log(1))
    expect_close(nll(third * 0, seventh), want, what="the NLL of an error of 1/7 in float64", hint=WIDEN, **close)


def test_the_gradient_of_the_kl():
    """The mean by the mean, (sigma^2 - 1) / 2 by the logvar: both are 0 at the prior only."""
    mean, logvar = (numbers(*of)[None].requires_grad_() for of in ((2, -1, 0), (0, math.log(4), -math.log(4))))
    backward(3 * kl(mean, logvar).sum(), what="the KL")
    for name, leaf, want in (("mean", mean, (6, -3, 0)), ("logvar", logvar, (0, 4.5, -1.125))):
        expect(leaf.grad is not None, f"the KL should have a gradient by {name}, but has none", hint="no detach()")
        expect_close(leaf.grad, numbers(*want)[None], what=f"the gradient of 3 KL by {name}", hint=KL)


def test_the_gradient_of_the_nll():
    """(reconstruction - x) / s^2, which is what makes a small s weigh the reconstruction."""
    x, r = (numbers(*of)[None].requires_grad_() for of in ((1, 0, 2), (0, 3, 2)))
    backward(nll(x, r, 0.5).sum(), what="the NLL")
    for name, leaf, want in (("reconstruction", r, (-4, 12, 0)), ("x", x, (4, -12, 0))):
        expect(leaf.grad is not None, f"the NLL should have a gradient by {name}, but has none", hint="no detach()")
        expect_close(leaf.grad, numbers(*want)[None], what=f"the gradient of the NLL by {name}", hint=NLL)


def test_gradients_of_all_functions(rng):
    """Finite differences in float64."""
    x, r, mean, logvar = shared((2, 3), (2, 2), rng)
    expect_gradients(kl_to_standard_normal, (mean, logvar), what="kl_to_standard_normal")
    expect_gradients(lambda x, r: gaussian_nll(x, r, 0.7), (x, r), what="gaussian_nll")
    each = (x, r, mean, logvar)
    expect_gradients(lambda *given: elbo(*given, noise_std=0.7, beta=2.0), each, what="negative_elbo")


def test_the_loss_reaches_the_encoder_through_both_terms(rng):
    """With the decoder z -> z the reconstruction is the sample, so mean and logvar have a slope through each term."""
    x, mean, logvar = randn(rng, 3, 4, 3)
    leaves = mean.clone().requires_grad_(), logvar.clone().requires_grad_()
    z = sample(*leaves)
    backward(elbo(x, z, *leaves, noise_std=0.5, beta=2.0), what="negative_elbo")
    pull, hint = (z.detach() - x) / 0.25, "detach neither the sample nor one of the terms"
    slopes = pull + 2 * mean, pull * (z.detach() - mean) / 2 + torch.expm1(logvar)
    for name, leaf, slope in zip(("mean", "logvar"), leaves, slopes, strict=True):
        what = f"the gradient of negative_elbo(x, sample, mean, logvar) by {name}"
        expect(leaf.grad is not None, f"{what} should exist, but there is none", hint=hint)
        expect_close(leaf.grad, slope / 4, what=what, hint=hint)


def test_gradients_at_extreme_logvars_are_finite():
    """In the sample, exp(logvar / 2) noise / 2; in the KL, (exp(logvar) - 1) / 2: 2.4e8, and not cut off."""
    for value in (-20.0, 20.0):
        for dtype in (torch.float32, torch.float64):
            leaf = torch.full((2, 3), value, dtype=dtype, requires_grad=True)
            got = sample(torch.ones_like(leaf), leaf)
            backward(got.sum(), what="the sample")
            what = f"the gradient of the sample at logvar={value:g} in {dtype}"
            expect_close(leaf.grad, (got.detach() - 1) / 2, what=what, hint=SIGMA, rtol=1e-3, atol=1e-6)
            leaf.grad = None
            backward(kl(torch.ones_like(leaf), leaf).sum(), what="the KL")
            want = torch.full_like(leaf, math.expm1(value) / 2).detach()
            expect_close(leaf.grad, want, what=f"the gradient of the KL at logvar={value:g} in {dtype}", hint=KL)


@EVERY
def test_gradients_have_the_dtype_of_the_inputs(rng, dtype):
    """Widening is differentiable: half-precision inputs get gradients."""
    leaves = [each.to(dtype).requires_grad_() for each in shared((2, 3), (2, 3), rng)]
    x, _, mean, logvar = leaves
    got = elbo(x, sample(mean, logvar), mean, logvar)
    expect_graph(got, what=f"negative_elbo of {dtype} tensors")
    backward(got, what="negative_elbo")
    for name, leaf in (("x", x), ("mean", mean), ("logvar", logvar)):
        expect(leaf.grad is not None, f"{name} should get a gradient in {dtype}, but gets none", hint="no detach()")
        expect_equal(leaf.grad.dtype, dtype, what=f"the dtype of the gradient of {name}")


@EVERY
def test_the_generator_decides_every_draw(rng, dtype):
    """Also where the noise is drawn in another dtype."""
    mean, logvar = randn(rng, 2, 5, 7).to(dtype)
    expect_seeded(
        lambda generator: sample(mean, logvar, generator=generator), what=f"reparameterize of {dtype} latents"
    )


def test_the_generator_draws_normal_noise_everywhere(rng):
    """What is drawn with a generator is as fresh for each latent as without one."""
    mean, logvar = randn(rng, 2, 40, 100)
    noise = noise_in(mean, logvar, generator=torch.Generator().manual_seed(3))
    expect_standard_normal(noise, what="random latents with a generator", hint=DIRECTLY)
    count = len(noise.flatten().round(decimals=9).unique())
    expect(count >= 3990, f"4000 latents should have 4000 numbers as noise, but have {count}", hint=DIRECTLY)
