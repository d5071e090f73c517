"""Noise schedules.

How much noise does a diffusion model add at each step, and why did the cosine schedule replace the linear one? Write
both, and the two quantities that everything else reads from them: the cumulative product and the signal-to-noise ratio.

With T steps, counted from 0 (t = 0 is one noising step), alpha_t = 1 - beta_t and abar_t = alpha_0 alpha_1 ... alpha_t:

    linear    beta_t = start + (end - start) t / (T - 1): equally spaced, both ends included
    cosine    beta_t = min(1 - f((t + 1) / T) / f(t / T), max_beta)
              with f(u) = cos^2(pi/2 (u + s) / (1 + s))
    snr_t     = abar_t / (1 - abar_t), the ratio of the variances of signal and noise in x_t

So the cosine schedule makes abar_t = f((t + 1) / T) / f(0), until the clip at max_beta. The small s keeps the first
steps from adding next to nothing.

Rules: the betas are float64, whatever the default dtype; they are cast when they are used. The linear schedule takes
`start` and `end` as they are: some libraries multiply both by 1000 / T, this one does not. No argument is modified.

Stage 1: the formulas.  Stage 2: any number of steps, the offset, the clip, the limits.  Stage 3: precision and dtypes.
Stage 4: no table of [steps, steps].

Sources: Ho, Jain and Abbeel, "Denoising Diffusion Probabilistic Models" (2020), section 4; Nichol and Dhariwal,
"Improved Denoising Diffusion Probabilistic Models" (2021), equation 17.
"""

import math

import torch
from jaxtyping import Float, Float64
from torch import Tensor


def linear_betas(steps: int, start: float = 1e-4, end: float = 0.02) -> Float64[Tensor, "steps"]:
    """Betas equally spaced from `start` to `end`, both included, in float64; a single step has `start`.

    Neither end is rescaled by the number of steps, and `end` may be below `start`.
    Raises ValueError if steps < 1, or if `start` or `end` is not strictly between 0 and 1.
    """
    # kata: begin
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not (0 < start < 1 and 0 < end < 1):
        raise ValueError(f"betas lie strictly between 0 and 1, got start={start} and end={end}")
    return torch.linspace(start, end, steps, dtype=torch.float64)
    # kata: end


def cosine_betas(steps: int, s: float = 0.008, max_beta: float = 0.999) -> Float64[Tensor, "steps"]:
    """Betas that make abar_t fall along a squared cosine, each at most `max_beta`, in float64.

    Raises ValueError if steps < 1, if s is negative, or unless 0 < max_beta <= 1.
    """
    # kata: begin
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not (s >= 0 and 0 < max_beta <= 1):
        raise ValueError(f"s must be >= 0 and max_beta in (0, 1], got s={s} and max_beta={max_beta}")
    time = torch.arange(steps + 1, dtype=torch.float64) / steps  # where each step begins, and where the last one ends
    signal = torch.cos(math.pi / 2 * (time + s) / (1 + s)) ** 2
    return (1 - signal[1:] / signal[:-1]).clamp(max=max_beta)  # [steps + 1] -> [steps]; f(0) cancels
    # kata: end


def alphas_cumprod(betas: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
    """abar_t, the share of the signal's variance that is left after step t; entry 0 is after one step already.

    The result has the dtype and device of `betas`. It is multiplied up in float64 and rounded once: in a narrower dtype
    1 - beta loses small betas.
    """
    # kata: begin
    return (1 - betas.double()).cumprod(0).to(betas.dtype)
    # kata: end


def snr(alphas_cumprod: Float[Tensor, "steps"]) -> Float[Tensor, "steps"]:
    """The signal-to-noise ratio abar / (1 - abar) of each step: a ratio of variances, not of standard deviations.

    Infinite where abar is 1, and 0 where it is 0. The result has the dtype and device of its argument.
    """
    # kata: begin
    return alphas_cumprod / (1 - alphas_cumprod)
    # kata: end
