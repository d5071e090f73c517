"""The loss of a VAE.

Stable Diffusion works in a VAE's latents. Write the reparameterised sample, the KL term and the negative ELBO. What are
the units of each term, and how does one get the balance wrong without noticing?

The encoder says of each x where its latents may lie: a normal distribution q(z | x) with a mean and a logvar for each
latent. THE LOGVAR IS log sigma^2, the natural logarithm of the variance. The decoder turns a z into the mean of a
normal distribution p(x | z) with one fixed standard deviation, noise_std, for every number of x. The prior of z is the
standard normal N(0, I).

    sample          mean + sigma noise                                           noise from N(0, I)
    KL(q || prior)  the sum over the latents of (mean^2 + sigma^2 - 1 - logvar) / 2
    NLL             -log p(x | z): the sum over the numbers of x of (x - r)^2 / (2 s^2) + log(2 pi s^2) / 2
    negative ELBO   the mean over the batch of NLL + beta KL

where r is the reconstruction and s is noise_std. All terms are in nats per element of the batch: sums over its
dimensions, whatever their number, and a mean over the batch alone. So with beta = 1 the negative ELBO is an upper bound
of -log p(x), the constants included.

Shapes: mean and logvar are [batch, ...], x and reconstruction are [batch, ...], each with one dimension or more behind
the batch, and images need not have as many of them as latents. There is at least one element.

Numbers: the tensors of a call have one dtype, any floating one. A sample has that dtype, and is not rounded to a
narrower one on the way. All else is float64 for float64 and float32 for all narrower ones, and is computed in that
dtype: widen before the first operation. A logvar may be anything in [-20, 20], and noise_std anything in [1e-4, 1e4].
No argument is modified.

Stage 1: the three formulas and their sum.  Stage 2: images, batches, beta, fresh noise, wrong arguments.  Stage 3: every
floating dtype, extremes, gradients, generators.  Stage 4: operators and bytes.

Sources: Kingma and Welling, "Auto-Encoding Variational Bayes" (2014), section 2.4 and appendix B; Higgins et al.,
"beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework" (2017), for beta.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def reparameterize(
    mean: Float[Tensor, "batch *latent"],
    logvar: Float[Tensor, "batch *latent"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *latent"]:
    """One random draw of the latents, differentiable in mean and logvar, in their dtype.

    Every number gets standard normal noise of its own. It is a draw in evaluation too, and under torch.no_grad(): the
    mean alone is no sample. With a `generator`, nothing else is a source of randomness.
    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("vae.reparameterize: write me")


def kl_to_standard_normal(
    mean: Float[Tensor, "batch *latent"], logvar: Float[Tensor, "batch *latent"]
) -> Float[Tensor, "batch"]:
    """KL(q || N(0, I)) of each element of the batch: the sum, not the mean, over its latents.

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("vae.kl_to_standard_normal: write me")


def gaussian_nll(
    x: Float[Tensor, "batch *rest"], reconstruction: Float[Tensor, "batch *rest"], noise_std: float = 1.0
) -> Float[Tensor, "batch"]:
    """-log p(x | z) of each element of the batch: the sum, not the mean, over its numbers, with the constant.

    Raises ValueError if the two shapes differ, and unless noise_std is positive and finite.
    """
    raise NotImplementedError("vae.gaussian_nll: write me")


def negative_elbo(
    x: Float[Tensor, "batch *rest"],
    reconstruction: Float[Tensor, "batch *rest"],
    mean: Float[Tensor, "batch *latent"],
    logvar: Float[Tensor, "batch *latent"],
    *,
    noise_std: float = 1.0,
    beta: float = 1.0,
) -> Float[Tensor, ""]:
    """The loss: the mean over the batch of NLL + beta KL, differentiable in the four tensors.

    `reconstruction` is what the decoder makes of one sample for each element. Raises ValueError as the two functions
    above do, if x and mean do not have equally many elements, and unless beta is finite and not negative.
    """
    raise NotImplementedError("vae.negative_elbo: write me")
