"""DDIM: the same model, in fewer steps.

A diffusion model was trained with a thousand noising steps. How can you sample from it in fifty, without training it
again, and why does the same starting noise then give the same picture?

DDPM's loss only knows q(x_t | x_0), so any process with these marginals may be run backwards, over any subset of the
steps. A step from t to an earlier t' (t_prev) splits x_t into the clean data and the noise that the model sees in it,
and puts them together again with the weights of t'. With abar_t = alphas_cumprod[t]:

    x0_hat = (x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t)
    x_t'   = sqrt(abar_t') x0_hat + sqrt(1 - abar_t' - sigma^2) eps + sigma noise
    sigma  = eta sqrt((1 - abar_t') / (1 - abar_t)) sqrt(1 - abar_t / abar_t')

eta = 0 is deterministic; eta = 1 with t' = t - 1 is DDPM's step with the posterior variance.

Rules: steps count from 0, and t' = -1 stands for clean data, where abar is 1. Every element of a batch has a t and a t'
of its own, both int64 [batch]; images are [batch, ...]. A result has the dtype of the images, whatever the schedule's;
coefficients are computed in the schedule's dtype or better and only then cast. No argument is modified, nothing is
clipped. Values of t within [0, steps) and of t' within [-1, t) are the caller's promise where they are tensors.

Stage 1: the grid, one step.  Stage 2: mixed batches, the last step, the sampler.  Stage 3: dtypes, gradients,
generators.  Stage 4: a step moves at most 80 times the bytes of x, and the sampler takes at most 400 operators a
timestep for 8 images.

Source: Song, Meng and Ermon, "Denoising Diffusion Implicit Models" (2021), equations 12 and 16.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

EpsModel = Callable[[Float[Tensor, "batch *rest"], Int64[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


def ddim_timesteps(steps: int, count: int) -> list[int]:
    """The `count` timesteps, of `steps`, that are visited: i * steps // count for i = count - 1 down to 0, as ints.

    So the grid is spread over all steps even where count does not divide steps, it ends at 0, and it begins below
    steps - 1 unless count = steps. Raises ValueError unless 1 <= count <= steps.
    """
    # kata: begin
    if not 1 <= count <= steps:
        raise ValueError(f"count must be from 1 to steps = {steps}, got {count}")
    return [i * steps // count for i in reversed(range(count))]
    # kata: end


def ddim_step(
    x_t: Float[Tensor, "batch *rest"],
    eps: Float[Tensor, "batch *rest"],
    t: Int64[Tensor, "batch"],
    t_prev: Int64[Tensor, "batch"],
    alphas_cumprod: Float[Tensor, "steps"],
    eta: float = 0.0,
    noise: Float[Tensor, "batch *rest"] | None = None,
) -> Float[Tensor, "batch *rest"]:
    """One step from t to the earlier t_prev, given the model's prediction `eps` of the noise in x_t.

    t_prev = -1 is the last step: abar is 1 there, so the result is x0_hat, whatever eta. `noise` (standard normal) is
    what sigma multiplies; nothing is drawn in here, and with eta = 0 the noise, if given, plays no part.
    Differentiable in x_t, eps and noise. Raises ValueError unless 0 <= eta <= 1, if eta > 0 and there is no noise, or
    if t or t_prev is not of shape [batch].
    """
    # kata: begin
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be from 0 to 1, got {eta}")
    if eta > 0 and noise is None:
        raise ValueError(f"eta = {eta} needs noise")
    if not t.shape == t_prev.shape == x_t.shape[:1]:
        raise ValueError(f"t and t_prev must have shape [batch], but have {list(t.shape)} and {list(t_prev.shape)}")

    def weight(values: Tensor) -> Tensor:
        return values.to(x_t.dtype).reshape(-1, *[1] * (x_t.dim() - 1))  # [batch] -> [batch, 1, ..., 1]

    abar = alphas_cumprod[t]
    abar_prev = torch.where(t_prev < 0, 1.0, alphas_cumprod[t_prev])  # an index of -1 would be the noisiest step
    sigma = eta * ((1 - abar_prev) / (1 - abar) * (1 - abar / abar_prev)).sqrt()
    # addcmul is a + b * c in one pass over the images. Four passes; the floor is one: x_t and eps in, x_prev out.
    x0 = torch.addcmul(x_t, -weight((1 - abar).sqrt()), eps) / weight(abar.sqrt())
    x_prev = torch.addcmul(weight(abar_prev.sqrt()) * x0, weight((1 - abar_prev - sigma**2).sqrt()), eps)
    return x_prev if noise is None else x_prev + weight(sigma) * noise
    # kata: end


def ddim_sample(
    eps_model: EpsModel,
    shape: tuple[int, ...],
    timesteps: Sequence[int],
    alphas_cumprod: Float[Tensor, "steps"],
    eta: float = 0.0,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    """Samples of `shape` = (batch, ...): standard normal noise, then a step from each timestep to the next, and to -1.

    `eps_model(x, t)` is called once for each of `timesteps`, with the whole batch and t as int64 [batch]. With eta > 0
    every step has fresh noise for every element. The samples have the dtype and device of `alphas_cumprod` and carry no
    autograd graph, even when the model has parameters. With a `generator`, nothing else is a source of randomness.
    Raises ValueError unless 0 <= eta <= 1, and unless `timesteps` (a list or tuple of ints, such as ddim_timesteps
    gives) is non-empty, strictly decreasing and within [0, steps).
    """
    # kata: begin
    falling = all(later > earlier for later, earlier in pairwise([len(alphas_cumprod), *timesteps, -1]))
    if not (timesteps and falling):
        raise ValueError(f"timesteps must fall strictly within [0, {len(alphas_cumprod)}), got {timesteps}")

    def randn() -> Tensor:
        return torch.randn(shape, generator=generator, dtype=alphas_cumprod.dtype, device=alphas_cumprod.device)

    x = randn()
    with torch.no_grad():
        for step, earlier in pairwise([*timesteps, -1]):
            t, t_prev = (torch.full(shape[:1], s, device=x.device) for s in (step, earlier))
            x = ddim_step(x, eps_model(x, t), t, t_prev, alphas_cumprod, eta, randn() if eta > 0 else None)
    return x
    # kata: end
