"""Recursion: x at a level is the join of the known region at that level and of a step from the level above. Weights in
numpy's float64; the masks as numbers in x0's dtype, mixed by torch.lerp."""

import numpy as np
import torch


@torch.no_grad()
def inpaint(eps_model, x0, mask, timesteps, alphas_cumprod, *, generator=None):
    try:
        repaint = mask.to(x0.dtype).expand_as(x0)
    except RuntimeError as error:
        raise ValueError("the mask must broadcast to the pictures") from error
    abar = np.append(alphas_cumprod.cpu().double().numpy(), 1.0)  # at -1: clean

    def randn():
        return torch.empty_like(x0, memory_format=torch.contiguous_format).normal_(generator=generator)

    def at(levels):
        """x at the last of these levels, joined."""
        *above, level = levels
        if above:
            was = at(above)
            eps = eps_model(was, torch.as_tensor(np.full(len(was), above[-1], dtype=np.int64), device=was.device))
            kept = float(np.sqrt(abar[level] / abar[above[-1]]))
            x = kept * was + float(np.sqrt(1 - abar[level]) - kept * np.sqrt(1 - abar[above[-1]])) * eps
        else:
            x = randn()
        signal, spread = float(np.sqrt(abar[level])), float(np.sqrt(1 - abar[level]))
        return torch.lerp(signal * x0 + spread * randn(), x, repaint)

    return at([*timesteps, -1])
