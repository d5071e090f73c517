"""Image-to-image: start from a picture instead of from noise.

How does `strength` decide how much of a given picture survives, with a model that was trained to start from pure noise?

Noise the picture to some timestep on the way and sample down from there. The noise drowns the small structures first,
so low strengths keep everything but the texture and high ones only the rough layout and colours. With n timesteps, of
which the last s are run, the first of those being t, and abar_t = alphas_cumprod[t]:

    s   = round(n strength)
    x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise,    noise standard normal

and from there deterministic DDIM steps (`ddim_step` is given) through the rest of the timesteps to clean data.

Rules: steps count from 0, and t_prev = -1 stands for clean data, where abar is 1. Images are [batch, ...]. A result has
the dtype of the images, whatever the schedule's; coefficients are computed in the schedule's dtype or better, before
anything is rounded to the images' dtype (1 - 0.9999 is 0 in bfloat16). No argument is modified, nothing is clipped.
That `timesteps` is a list or tuple of ints, strictly decreasing within [0, steps), is the caller's promise.

Stage 1: how many steps, which, and from where.  Stage 2: strength 0 and 1, grids, batches, wrong strengths.  Stage 3:
dtypes, generators, gradients.  Stage 4: one model call for each step that is run, at most 200 operators
around it for 8 pictures.

Source: Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations" (2022).
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64
from torch import Tensor

EpsModel = Callable[[Float[Tensor, "batch *rest"], Int64[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


def ddim_step(
    x_t: Float[Tensor, "batch *rest"],
    eps: Float[Tensor, "batch *rest"],
    t: int,
    t_prev: int,
    alphas_cumprod: Float[Tensor, "steps"],
) -> Float[Tensor, "batch *rest"]:
    """Given: the DDIM step with eta = 0 from timestep t to the earlier t_prev, for the whole batch; -1 is clean data."""
    abar = alphas_cumprod[t]
    abar_prev = alphas_cumprod[t_prev] if t_prev >= 0 else torch.ones_like(abar)
    x0 = (x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
    return abar_prev.sqrt() * x0 + (1 - abar_prev).sqrt() * eps


def start_step(steps: int, strength: float) -> int:
    """How many of `steps` timesteps are run: steps x strength, rounded as Python's round does, as an int.

    So 50 steps at strength 0.8 run the last 40. Raises ValueError unless 0 <= strength <= 1.
    """
    # kata: begin
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be from 0 to 1, got {strength}")
    return round(steps * strength)
    # kata: end


def image_to_image(
    eps_model: EpsModel,
    x0: Float[Tensor, "batch *rest"],
    strength: float,
    timesteps: Sequence[int],
    alphas_cumprod: Float[Tensor, "steps"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "batch *rest"]:
    """New versions of the pictures `x0`: noised, then sampled down the last start_step(len(timesteps), strength) of
    `timesteps`, and from the last of them to clean data (t_prev = -1).

    x0 is noised to exactly the first timestep that is run, with noise of its own for every element. At strength 1 that
    is the first of `timesteps`, and x0 still has its weight sqrt(abar) there. Where no step is run (strength 0, or one
    that rounds to none), the result has exactly the values of x0, and the model is not called; whether it is x0 itself
    or a copy is free. Only the start is random: the steps are deterministic.

    `eps_model(x, t)` predicts the noise in x; it is called once for each timestep that is run, with the whole batch and
    t as int64 [batch]. The result has the shape, dtype and device of x0 and carries no autograd graph, even when the
    model has parameters. With a `generator`, nothing else is a source of randomness. Raises ValueError unless
    0 <= strength <= 1.
    """
    # kata: begin
    skipped = len(timesteps) - start_step(len(timesteps), strength)
    run = timesteps[skipped:]  # not timesteps[-count:], which is everything when count is 0
    if not run:
        return x0.clone()
    abar = alphas_cumprod[run[0]]
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    with torch.no_grad():
        x = abar.sqrt() * x0 + (1 - abar).sqrt() * noise
        for t, t_prev in pairwise([*run, -1]):
            eps = eps_model(x, torch.full(x.shape[:1], t, device=x.device))
            x = ddim_step(x, eps, t, t_prev, alphas_cumprod)
    return x
    # kata: end
