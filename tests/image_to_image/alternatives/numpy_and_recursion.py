"""Schedule arithmetic in numpy's float64, and recursion instead of a loop: a step, then the rest of the way. The noise is
drawn image by image."""

import numpy as np
import torch


def start_step(steps, strength):
    if not np.all((strength >= 0, strength <= 1)):
        raise ValueError("0 <= strength <= 1")
    return int(np.rint(steps * strength))  # halves to even, as Python's round


def descend(eps_model, x, levels, abar):
    """From levels[0] down through the rest; at -1 (abar 1, the entry appended) x is clean."""
    now, then, *_ = levels
    eps = eps_model(x, torch.full((len(x),), now, device=x.device))
    kept = float(np.sqrt(abar[then] / abar[now]))
    turned = float(np.sqrt(1 - abar[then]) - kept * np.sqrt(1 - abar[now]))
    x = kept * x + turned * eps
    return x if then == -1 else descend(eps_model, x, levels[1:], abar)


@torch.no_grad()
def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    count = start_step(len(timesteps), strength)
    levels = (*timesteps, -1)[-count - 1 :]
    if len(levels) == 1:
        return torch.clone(x0)
    abar = np.append(alphas_cumprod.detach().cpu().double().numpy(), 1.0)
    options = {"generator": generator, "dtype": x0.dtype, "device": x0.device}
    noise = torch.stack([torch.randn(x0.shape[1:], **options) for _ in range(len(x0))])
    start = float(np.sqrt(abar[levels[0]])) * x0 + float(np.sqrt(1 - abar[levels[0]])) * noise
    return descend(eps_model, start, levels, abar)
