"""A beginner's version: Python's math and loops for the embedding and for x_t, names for the moving average."""

import math

import torch


def timestep_embedding(t, dim, max_period=10000):
    if dim < 2:
        raise ValueError("dim is too small")
    if len(t.shape) != 1:
        raise ValueError("t must be a vector")
    half = dim // 2
    rows = []
    for step in t.tolist():
        row = []
        for i in range(half):
            row.append(math.cos(step * max_period ** (-i / half)))
        for i in range(half):
            row.append(math.sin(step * max_period ** (-i / half)))
        if dim % 2 == 1:
            row.append(0.0)
        rows.append(row)
    return torch.tensor(rows, dtype=torch.float32, device=t.device)


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    t = torch.randint(0, len(alphas_cumprod), (len(x0),), generator=generator, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    rows = []
    for i in range(len(x0)):
        abar = float(alphas_cumprod[t[i]])
        rows.append(math.sqrt(abar) * x0[i] + math.sqrt(1 - abar) * noise[i])
    error = eps_model(torch.stack(rows), t) - noise
    return (error * error).mean()


def ema_update(ema, model, decay):
    if not (decay >= 0 and decay <= 1):
        raise ValueError("decay is between 0 and 1")
    new_parameters = dict(model.named_parameters())
    new_buffers = dict(model.named_buffers())
    if new_parameters.keys() != dict(ema.named_parameters()).keys():
        raise ValueError("not the same parameters")
    if new_buffers.keys() != dict(ema.named_buffers()).keys():
        raise ValueError("not the same buffers")
    for name, average in ema.named_parameters():
        new = new_parameters[name].detach()
        if average.dtype.is_floating_point:
            average.data.copy_(decay * average.data + (1 - decay) * new.to(average.dtype))
        else:
            average.data.copy_(new)
    for name, buffer in ema.named_buffers():
        buffer.data.copy_(new_buffers[name])
