"""On the unit circle, abar = cos^2(angle): noising turns x0 towards the noise, a step turns (x0_hat, eps) back. The
timesteps are consumed from an iterator; the noise is drawn in float64 and rounded."""

from itertools import islice

import torch


def start_step(steps: int, strength: float) -> int:
    if strength in (0, 1):
        return int(steps * strength)
    if 0 < strength < 1:
        return round(strength * steps)
    raise ValueError(f"strength = {strength}")


def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    dropped = len(timesteps) - start_step(len(timesteps), strength)
    ahead = islice(timesteps, dropped, None)
    t = next(ahead, None)
    if t is None:
        return +x0
    wide = alphas_cumprod.double()
    angle = torch.atan2((1 - wide).sqrt(), wide.sqrt())
    noise = torch.randn(x0.shape, generator=generator, dtype=torch.float64, device=x0.device).to(x0.dtype)
    with torch.no_grad():
        x = torch.add(angle[t].cos() * x0, angle[t].sin() * noise)
        while t is not None:
            following = next(ahead, None)
            target = angle.new_zeros(()) if following is None else angle[following]
            eps = eps_model(x, x.new_full((x.shape[0],), t, dtype=torch.int64))
            clean = x / angle[t].cos() - angle[t].tan() * eps
            x = target.cos() * clean + target.sin() * eps
            t = following
    return x
