"""The embedding as points on the unit circle (torch.polar), t as the floor of a uniform number, einsum for the weights,
and the average by what remains of the difference: average -= (1 - decay) (average - parameter)."""

from itertools import chain

import torch


def timestep_embedding(t, dim, max_period=10000):
    if dim < 2:
        raise ValueError("no room for a hand")
    (batch,) = t.shape if t.dim() == 1 else (None,)
    if batch is None:
        raise ValueError("t: [batch]")
    half = dim // 2
    speeds = torch.logspace(0, -1 + 1 / half, half, base=max_period, dtype=torch.float64, device=t.device)
    angles = torch.einsum("b,h->bh", t.double(), speeds)
    hands = torch.polar(torch.ones_like(angles), angles)
    out = torch.zeros(batch, dim, device=t.device, dtype=torch.float32)
    out[:, :half], out[:, half : 2 * half] = hands.real, hands.imag
    return out


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    steps = alphas_cumprod.numel()
    u = torch.rand(x0.size(0), generator=generator, dtype=torch.float64, device=x0.device)
    t = (u * steps).floor().long()
    eps = torch.normal(0.0, 1.0, x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    abar = torch.take(alphas_cumprod, t).double()
    weights = torch.stack([abar.sqrt(), (1 - abar).sqrt()]).to(x0.dtype)
    x_t = torch.einsum("kb,kb...->b...", weights, torch.stack([x0, eps]))
    return torch.nn.functional.mse_loss(eps, eps_model(x_t, t), reduction="sum") / x0.numel()


def ema_update(ema, model, decay):
    if decay not in (0, 1) and not 0 < decay < 1:
        raise ValueError("decay")
    pairs = list(zip(ema.parameters(), model.parameters(), strict=True))
    copies = list(zip(ema.buffers(), model.buffers(), strict=True))
    with torch.no_grad():
        averaged = [(a.detach(), p.detach()) for a, p in pairs if a.is_floating_point()]
        for a, p in averaged:
            a.sub_((a - p.to(a.dtype)) * (1 - decay))
        for a, p in chain(((a, p) for a, p in pairs if not a.is_floating_point()), copies):
            a.copy_(p)
