"""Inpainting with an ordinary diffusion model.

How can a model that was only ever trained to make whole pictures fill a hole in one, without touching the rest?

Sample as usual from pure noise, but put the known part of the picture back at every noise level, noised to just that
level: the model then sees a picture that is everywhere as noisy as it expects, and the hole grows to fit what is around
it. With mask = 1 where to repaint and abar_t = alphas_cumprod[t],

    x_t = mask x_t + (1 - mask) (sqrt(abar_t) x0 + sqrt(1 - abar_t) noise),    noise standard normal

for each x_t that the model is shown, and between them deterministic DDIM steps. `q_sample` and `ddim_step` are given.

Rules: steps count from 0, and -1 stands for clean data, where abar is 1. Images are [batch, ...]. A result has the dtype
of the images, whatever the schedule's or the mask's. No argument is modified, nothing is clipped. That `timesteps` is a
non-empty list or tuple of ints, strictly decreasing within [0, steps), and that the mask holds nothing but 0 and 1, is
the caller's promise.

Stage 1: what is kept, what is repainted, what the model is shown.  Stage 2: masks of any shape and dtype, whole and
empty ones, wrong shapes.  Stage 3: dtypes, generators, no graph.  Stage 4: one model call a timestep, at most 200
operators around it for 8 images.

Source: Lugmayr et al., "RePaint: Inpainting using Denoising Diffusion Probabilistic Models" (2022), algorithm 1 without
resampling (U = 1), with DDIM in place of DDPM.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

EpsModel = Callable[[Float[Tensor, "batch *rest"], Int64[Tensor, "batch"]], Float[Tensor, "batch *rest"]]


def q_sample(
    x0: Float[Tensor, "batch *rest"],
    t: int,
    noise: Float[Tensor, "batch *rest"],
    alphas_cumprod: Float[Tensor, "steps"],
) -> Float[Tensor, "batch *rest"]:
    """Given: clean data x0 noised to timestep t, for the whole batch; at t = -1 it is x0, exactly."""
    abar = alphas_cumprod[t] if t >= 0 else alphas_cumprod.new_ones(())
    return abar.sqrt() * x0 + (1 - abar).sqrt() * noise


def ddim_step(
    x_t: Float[Tensor, "batch *rest"],
    eps: Float[Tensor, "batch *rest"],
    t: int,
    t_prev: int,
    alphas_cumprod: Float[Tensor, "steps"],
) -> Float[Tensor, "batch *rest"]:
    """Given: the DDIM step with eta = 0 from timestep t to the earlier t_prev, for the whole batch; -1 is clean data."""
    abar = alphas_cumprod[t]
    x0 = (x_t - (1 - abar).sqrt() * eps) / abar.sqrt()
    return q_sample(x0, t_prev, eps, alphas_cumprod)


def inpaint(
    eps_model: EpsModel,
    x0: Float[Tensor, "*shape"],
    mask: Shaped[Tensor, "*#shape"],
    timesteps: Sequence[int],
    alphas_cumprod: Float[Tensor, "steps"],
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    """The pictures `x0` [batch, ...], repainted where `mask` is 1; where it is 0 the result has exactly x0's values.

    The hole starts from standard normal noise, and from each timestep to the next, and from the last to clean data
    (t_prev = -1), it takes the DDIM step from the whole x that the model was shown. What x0 holds in the hole (finite
    numbers) plays no part. In every x that the model is shown, the known region is x0 noised to that call's timestep;
    the first call alone may show pure noise there instead. So replacing it before each step or after it are both
    right. The noise differs between the elements of a batch; between timesteps it may be fresh or the same, and it may
    be that of the start.

    `mask` is bool or of any number dtype, on the same device, and broadcasts to the shape of x0: [batch, 1, h, w],
    [1, 1, h, w] and [h, w] all fit [batch, c, h, w]. `eps_model(x, t)` predicts the noise in x; it is called once for
    each timestep, with the whole batch and t as int64 [batch]. The result has the dtype and device of x0 and carries no
    autograd graph, even when the model has parameters. With a `generator`, nothing else is a source of randomness.
    Raises ValueError if the mask does not broadcast to the shape of x0.
    """
    # kata: begin
    try:
        hole = mask.expand(x0.shape).bool()
    except RuntimeError as error:
        raise ValueError(f"a mask {list(mask.shape)} does not broadcast to images {list(x0.shape)}") from error

    def randn() -> Tensor:
        return torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)

    x = randn()
    with torch.no_grad():
        for t, t_prev in pairwise([*timesteps, -1]):
            x = torch.where(hole, x, q_sample(x0, t, randn(), alphas_cumprod))
            eps = eps_model(x, torch.full(x.shape[:1], t, device=x.device))
            x = ddim_step(x, eps, t, t_prev, alphas_cumprod)
        return torch.where(hole, x, x0)
    # kata: end
