"""Stage 2. Images, batches, beta, fresh noise, wrong arguments."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_raises, expect_unchanged, randn
from katas.vae import gaussian_nll, kl_to_standard_normal, negative_elbo, reparameterize

from .helpers import DIRECTLY, ELBO, KINDS, LATENTS, elbo, expect_standard_normal, kl, nll, noise_in, sample, shared

NAN, INF = float("nan"), float("inf")
ALONE = "sum over all dimensions but the first, whatever their number: flatten(1).sum(1)"
WRONG_SHAPES = [
    ((3, 2), (1, 2)),
    ((3, 2), (3, 1)),
    ((3, 1), (3, 2)),
    ((1, 2), (3, 2)),
    ((3, 2), (2,)),
    ((3, 2), (2, 3)),
    ((3, 4), (3, 2, 2)),
    ((3, 2), (3, 2, 1)),
]
WRONG_NOISE = [0.0, -0.5, NAN, INF]
WRONG_BETA = [-1.0, -1e-9, NAN, INF]


@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_each_element_has_its_own_kl(rng, shape):
    """Vectors and images, against each latent as an element of its own: batch x everything else."""
    mean, logvar = randn(rng, 2, *shape)
    alone = kl(mean.reshape(-1, 1), logvar.reshape(-1, 1)).reshape(shape[0], -1)
    what = f"the KL of latents {list(shape)}, against the sums of each latent's"
    expect_close(kl(mean, logvar), alone.sum(1), what=what, hint=ALONE)


@pytest.mark.parametrize("shape", LATENTS, ids=str)
def test_each_element_has_its_own_nll(rng, shape):
    x, r = randn(rng, 2, *shape)
    alone = nll(x.reshape(-1, 1), r.reshape(-1, 1), 0.7).reshape(shape[0], -1)
    what = f"the NLL of x {list(shape)}, against the sums of each number's"
    expect_close(nll(x, r, 0.7), alone.sum(1), what=what, hint=ALONE)


@pytest.mark.parametrize(("x", "latents"), KINDS, ids=str)
def test_images_and_latents_differ_in_size_and_in_dimensions(rng, x, latents):
    """Each term is a sum over its own dimensions: a mean of one of them, or of both, is another beta."""
    given = shared(x, latents, rng)
    want = (nll(*given[:2], 0.5) + 2 * kl(*given[2:])).mean()
    what = f"negative_elbo with noise_std=0.5, beta=2 for x {list(x)} and latents {list(latents)}, against its terms"
    expect_close(elbo(*given, noise_std=0.5, beta=2.0), want, what=what, hint=ELBO)


def test_repeating_the_batch_changes_nothing(rng):
    """The learning rate does not have to follow the batch size."""
    given = shared((2, 3), (2, 4), rng)
    got = elbo(*(each.repeat(5, 1) for each in given))
    expect_close(got, elbo(*given), what="negative_elbo of a batch repeated 5 times", hint="the mean over the batch")


@pytest.mark.parametrize("beta", [0, 0.25, 1, 6.0])
def test_beta_weighs_the_kl(rng, beta):
    """And neither the NLL nor its constant. A beta of 0 leaves a plain autoencoder."""
    given = shared((3, 4), (3, 2), rng)
    what = f"negative_elbo at beta={beta:g} minus the mean NLL"
    got = elbo(*given, beta=beta) - nll(*given[:2]).mean()
    expect_close(got, beta * kl(*given[2:]).mean(), what=what, hint=ELBO)


@pytest.mark.parametrize("noise_std", [0.05, 0.5, 4.0])
def test_noise_std_reaches_the_nll_and_not_the_kl(rng, noise_std):
    given = shared((3, 4), (3, 2), rng)
    got = elbo(*given, noise_std=noise_std) - kl(*given[2:]).mean()
    what = f"negative_elbo at noise_std={noise_std:g} minus the mean KL"
    expect_close(got, nll(*given[:2], noise_std).mean(), what=what, hint=ELBO)


def test_a_better_posterior_and_a_better_reconstruction_lower_the_loss(rng):
    """No term is cut off: a KL of 0.02 counts, and an error of 0.01 does too."""
    x, zero = randn(rng, 3, 4), torch.zeros(3, 2).double()
    best = elbo(x, x, zero, zero)
    others = {"means of 0.2": elbo(x, x, zero + 0.2, zero), "logvars of 0.2": elbo(x, x, zero, zero + 0.2)}
    others["errors of 0.01"] = elbo(x, x + 0.01, zero, zero)
    for what, got in others.items():
        sentence = f"the loss with {what} should exceed the perfect one, {best:.6f}, but is {got:.6f}"
        expect(got > best, sentence, hint="no free bits, no clamp, no threshold")


@pytest.mark.parametrize("shape", [(40, 100), (20, 4, 5, 10)], ids=str)
def test_samples_of_mixed_latents(rng, shape):
    """Every latent has its own mean and sigma; vectors and images."""
    mean, logvar = 3 * randn(rng, 2, *shape)
    noise = noise_in(mean, logvar)
    expect_standard_normal(noise, what=f"random latents {list(shape)}", hint=DIRECTLY)
    count = len(noise.flatten().round(decimals=9).unique())
    # 4000 numbers that are rounded to 1e-9 collide once in 400 runs
    expect(count >= 3990, f"4000 latents should have 4000 numbers as noise, but have {count}", hint=DIRECTLY)


def test_evaluation_samples_too(rng):
    """Under torch.no_grad(), and for latents that need no gradient. The ELBO is an expectation over samples: at the mean
    of the posterior the reconstruction is better than it claims."""
    mean, logvar = randn(rng, 2, 40, 100)
    hint = "the same draw in every mode; who wants the mean, takes the mean"
    leaves = mean.clone().requires_grad_(), logvar.clone().requires_grad_()
    with torch.no_grad():
        noise = noise_in(*leaves)
    expect_standard_normal(noise, what="latents under torch.no_grad()", hint=hint)
    with torch.inference_mode():
        noise = noise_in(mean, logvar)
    expect_standard_normal(noise, what="latents under torch.inference_mode()", hint=hint)


def test_the_arguments_are_left_alone(rng):
    x, r, mean, logvar = shared((3, 4), (3, 2), rng)
    with expect_unchanged(mean, logvar, what="the mean or the logvar of reparameterize"):
        reparameterize(mean, logvar)
    with expect_unchanged(mean, logvar, what="the mean or the logvar of kl_to_standard_normal"):
        kl_to_standard_normal(mean, logvar)
    with expect_unchanged(x, r, what="x or the reconstruction of gaussian_nll"):
        gaussian_nll(x, r, 0.5)
    with expect_unchanged(x, r, mean, logvar, what="an argument of negative_elbo"):
        negative_elbo(x, r, mean, logvar, noise_std=0.5, beta=2.0)


def test_strided_inputs_and_repeated_calls(rng):
    """Slices of a wider tensor, such as the two halves of an encoder's output, and transposed images."""
    mean, logvar = randn(rng, 3, 8, 2, 5).transpose(2, 3).chunk(2, 1)
    x, r = randn(rng, 2, 4, 3, 6).transpose(1, 2)[..., ::2]
    want_kl, want_nll = kl(mean.contiguous(), logvar.contiguous()), nll(x.contiguous(), r.contiguous())
    for _ in range(2):
        expect_close(kl(mean, logvar), want_kl, what="the KL of strided latents")
        expect_close(nll(x, r), want_nll, what="the NLL of strided images")
        want = (want_nll + want_kl).mean()
        expect_close(elbo(x, r, mean, logvar), want, what="negative_elbo of strided inputs", hint=ELBO)
    sample(mean, logvar)


@pytest.mark.parametrize(("mean", "logvar"), WRONG_SHAPES, ids=str)
def test_latents_of_other_shapes_are_errors(mean, logvar):
    """Broadcasting would take them without a word, and a KL would count a latent several times."""
    hint = "compare mean.shape with logvar.shape"
    for function in (reparameterize, kl_to_standard_normal):
        with expect_raises(ValueError, what=f"{function.__name__} with mean {mean}, logvar {logvar}", hint=hint):
            function(torch.zeros(mean), torch.zeros(logvar))
    images = torch.zeros(mean[0], 4)
    with expect_raises(ValueError, what=f"negative_elbo with mean {mean}, logvar {logvar}", hint=hint):
        negative_elbo(images, images, torch.zeros(mean), torch.zeros(logvar))


@pytest.mark.parametrize(("x", "reconstruction"), WRONG_SHAPES, ids=str)
def test_reconstructions_of_other_shapes_are_errors(x, reconstruction):
    hint, what = "compare x.shape with reconstruction.shape", f"with x {x}, reconstruction {reconstruction}"
    with expect_raises(ValueError, what=f"gaussian_nll {what}", hint=hint):
        gaussian_nll(torch.zeros(x), torch.zeros(reconstruction))
    with expect_raises(ValueError, what=f"negative_elbo {what}", hint=hint):
        negative_elbo(torch.zeros(x), torch.zeros(reconstruction), torch.zeros(x[0], 2), torch.zeros(x[0], 2))


@pytest.mark.parametrize(("images", "latents"), [(3, 1), (1, 3), (3, 2)])
def test_batches_of_other_sizes_are_errors(images, latents):
    """The terms [3] and [1] broadcast: everybody would pay the KL of one element."""
    x, z = torch.zeros(images, 4), torch.zeros(latents, 2)
    what = f"negative_elbo with {images} elements of x and {latents} of the latents"
    with expect_raises(ValueError, what=what, hint="compare len(x) with len(mean)"):
        negative_elbo(x, x, z, z)


@pytest.mark.parametrize("noise_std", WRONG_NOISE, ids=str)
def test_a_noise_std_that_is_not_positive_and_finite_is_an_error(noise_std):
    """A comparison with NaN is False either way, and the square of -0.5 looks fine."""
    x, hint = torch.zeros(2, 3), "if not 0 < noise_std < math.inf: raise"
    with expect_raises(ValueError, what=f"gaussian_nll with noise_std={noise_std}", hint=hint):
        gaussian_nll(x, x, noise_std)
    with expect_raises(ValueError, what=f"negative_elbo with noise_std={noise_std}", hint=hint):
        negative_elbo(x, x, x, x, noise_std=noise_std)


@pytest.mark.parametrize("beta", WRONG_BETA, ids=str)
def test_a_beta_that_is_negative_or_not_finite_is_an_error(beta):
    """A negative beta pays for leaving the prior."""
    x = torch.zeros(2, 3)
    with expect_raises(ValueError, what=f"negative_elbo with beta={beta}", hint="if not 0 <= beta < math.inf: raise"):
        negative_elbo(x, x, x, x, beta=beta)
