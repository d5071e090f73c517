"""torch's own EMA function, which works on lists of tensors at once, grouped by dtype; the loss on a flattened batch;
the embedding's frequencies as powers of one ratio."""

from collections import defaultdict

import torch
from torch.optim.swa_utils import get_ema_multi_avg_fn


def timestep_embedding(t, dim, max_period=10000):
    if t.dim() - 1 or dim < 2:
        raise ValueError("t is [batch] and dim at least 2")
    half = dim // 2
    ratio = torch.full((half,), max_period ** (-1 / half), dtype=torch.float64, device=t.device)
    ratio[0] = 1
    angles = t.unsqueeze(-1) * ratio.cumprod(0)
    # sin(x + pi/2) = cos(x)
    both = torch.sin(torch.stack([angles + torch.pi / 2, angles], 1)).flatten(1).to(torch.float32)
    return both if dim % 2 == 0 else torch.hstack([both, both.new_zeros(len(both), 1)])


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    flat = x0.reshape(len(x0), -1)
    noise = torch.randn(flat.shape, generator=generator, dtype=flat.dtype, device=flat.device)
    t = torch.randint(len(alphas_cumprod), (len(x0),), generator=generator, device=flat.device)
    abar = alphas_cumprod.index_select(0, t).unsqueeze(1)
    x_t = abar.sqrt().type_as(flat) * flat + torch.sqrt(1 - abar).type_as(flat) * noise
    predicted = eps_model(x_t.reshape(x0.shape), t)
    return torch.nn.MSELoss()(predicted, noise.reshape(x0.shape))


@torch.no_grad()
def ema_update(ema, model, decay):
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"decay {decay} is no share")
    if any(
        len(list(a)) != len(list(b))
        for a, b in ((ema.parameters(), model.parameters()), (ema.buffers(), model.buffers()))
    ):
        raise ValueError("different modules")
    groups = defaultdict(lambda: ([], []))
    for average, parameter in zip(ema.parameters(), model.parameters(), strict=True):
        if average.is_floating_point():
            groups[average.dtype][0].append(average)
            groups[average.dtype][1].append(parameter.to(average.dtype))
        else:
            average.copy_(parameter)
    for averages, parameters in groups.values():
        get_ema_multi_avg_fn(decay)(averages, parameters, None)
    if buffers := list(ema.buffers()):
        torch._foreach_copy_(buffers, list(model.buffers()))
