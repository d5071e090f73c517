"""The step as one sum of x_t, eps and noise, with their final weights; abar shifted by one with a 1 in front, so that
t_prev + 1 is an index. The sampler draws all of its noise in advance."""

import torch
from torch.nn.functional import pad


def ddim_timesteps(steps, count):
    if count not in range(1, steps + 1):
        raise ValueError(f"cannot visit {count} of {steps} steps")
    return torch.arange(count - 1, -1, -1).mul(steps).div(count, rounding_mode="floor").tolist()


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    batch = (x_t.shape[0],)
    if t.shape != batch or t_prev.shape != batch:
        raise ValueError("t, t_prev: [batch]")
    if not (eta >= 0 and eta <= 1):
        raise ValueError("0 <= eta <= 1")
    if eta and noise is None:
        raise ValueError("noise, please")
    shifted = pad(alphas_cumprod, (1, 0), value=1.0)
    a, b = shifted.take(t + 1), shifted.take(t_prev + 1)
    kept = a / b  # what the jump leaves of the signal
    variance = eta**2 * (1 - b) / (1 - a) * (1 - kept)
    of_x = kept.rsqrt()
    of_eps = (1 - b - variance).sqrt() - ((1 - a) / kept).sqrt()
    view = (-1,) + (1,) * (x_t.ndim - 1)
    of_x, of_eps, of_noise = (w.to(x_t.dtype).view(view) for w in (of_x, of_eps, variance.sqrt()))
    total = torch.addcmul(of_x * x_t, of_eps.expand_as(eps), eps)
    return total if eta == 0 else torch.addcmul(total, of_noise.expand_as(noise), noise)


@torch.no_grad()
def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    timesteps = tuple(timesteps)
    if not timesteps or list(timesteps) != sorted(set(timesteps), reverse=True):
        raise ValueError("timesteps must fall")
    if timesteps[0] >= alphas_cumprod.numel() or timesteps[-1] < 0:
        raise ValueError("timesteps outside the schedule")
    noises = torch.randn((len(timesteps) + 1, *shape), generator=generator).to(alphas_cumprod)
    if alphas_cumprod.dtype == torch.float64:  # all 53 bits
        noises = torch.randn((len(timesteps) + 1, *shape), generator=generator, dtype=torch.float64)
    x = noises[-1]
    for i, (now, then) in enumerate(zip(timesteps, (*timesteps[1:], -1), strict=True)):
        now, then = (torch.tensor([s] * shape[0], device=x.device) for s in (now, then))
        x = ddim_step(x, eps_model(x, now), now, then, alphas_cumprod, eta, noises[i])
    return x
