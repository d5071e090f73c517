"""On the unit circle: abar = cos^2(angle), so a deterministic step turns (x0, eps) by the difference of two angles. All
coefficients in float64, images computed in float64 and rounded once."""

from itertools import pairwise

import torch


def ddim_timesteps(steps, count):
    if not 0 < count <= steps:
        raise ValueError("0 < count <= steps")
    return [int(i * steps / count + 1e-9) for i in range(count)][::-1]


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    if not 0.0 <= eta <= 1.0:
        raise ValueError("eta")
    if noise is None and eta > 0.0:
        raise ValueError("noise")
    for step in (t, t_prev):
        if step.dim() != 1 or len(step) != len(x_t):
            raise ValueError("one step for each element")
    wide = alphas_cumprod.double()
    angles = torch.cat([torch.arctan2((1 - wide).sqrt(), wide.sqrt()), wide.new_zeros(1)])  # 0 at index -1: clean data
    now, then = angles[t], angles[t_prev]
    sigma = eta * then.sin() / now.sin() * (1 - (now.cos() / then.cos()) ** 2).sqrt()

    def times(weight, image):
        return torch.einsum("b,b...->b...", weight, image.double())

    x0 = times(1 / now.cos(), x_t) - times(now.tan(), eps)
    out = times(then.cos(), x0) + times((then.sin() ** 2 - sigma**2).clamp(min=0).sqrt(), eps)
    if eta > 0:
        out = out + times(sigma, noise)
    return out.to(x_t.dtype)


def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    steps = len(alphas_cumprod)
    if not timesteps or any(not 0 <= step < steps for step in timesteps):
        raise ValueError("timesteps out of range")
    if any(b >= a for a, b in pairwise(timesteps)):
        raise ValueError("timesteps do not fall")
    kind = {"dtype": alphas_cumprod.dtype, "device": alphas_cumprod.device}
    with torch.inference_mode():
        x = torch.empty(shape, **kind).normal_(generator=generator)
        queue = list(timesteps)
        while queue:
            t = torch.full((shape[0],), queue.pop(0), device=x.device)
            t_prev = torch.full((shape[0],), queue[0] if queue else -1, device=x.device)
            noise = torch.empty(shape, **kind).normal_(generator=generator) if eta else None
            x = ddim_step(x, eps_model(x, t), t, t_prev, alphas_cumprod, eta, noise)
    return x.clone()
