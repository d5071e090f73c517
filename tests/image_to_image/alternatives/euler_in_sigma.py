"""As Euler's method in sigma = sqrt((1 - abar) / abar), for y = x / sqrt(abar): the noised picture is x0 + sigma noise
and a step adds (sigma' - sigma) eps. In the dtype of the schedule or wider throughout; only what is shown is cast."""

from decimal import ROUND_HALF_EVEN, Decimal

import torch


def start_step(steps, strength):
    if not 0 <= strength <= 1:
        raise ValueError("strength")
    return int(Decimal(steps * strength).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    steps = start_step(len(timesteps), strength)
    if not steps:
        return x0.detach().clone()
    levels = [*timesteps][-steps:]
    abar = alphas_cumprod.double()[levels]
    sigmas = torch.cat([((1 - abar) / abar).sqrt(), abar.new_zeros(1)]).tolist()
    scales = (1 / abar.sqrt()).tolist()
    noise = torch.randn(*x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    with torch.inference_mode():
        y = x0.double() + sigmas[0] * noise.double()
        for i, level in enumerate(levels):
            shown = (y / scales[i]).to(x0.dtype)
            eps = eps_model(shown, torch.tensor([level] * len(x0), device=x0.device))
            y = y + (sigmas[i + 1] - sigmas[i]) * eps.double()
    return y.to(x0.dtype).clone()
