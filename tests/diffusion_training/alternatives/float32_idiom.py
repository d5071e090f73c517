"""As public code has it: the frequencies by exp and log in float32, an outer product, zeros appended; noise drawn
before t; the squared error averaged over each element, then over the batch; mul_ and add_."""

import math

import torch


def timestep_embedding(t, dim, max_period=10000):
    if dim <= 1 or t.ndim != 1:
        raise ValueError("dim >= 2 and t of shape [batch], please")
    half = dim // 2
    freqs = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    args = torch.outer(t.float(), freqs)
    embedding = torch.cat([torch.cos(args), torch.sin(args)], dim=-1)
    if dim % 2:
        embedding = torch.cat([embedding, torch.zeros_like(embedding[:, :1])], dim=-1)
    return embedding


def extract(values, t, x):
    return values.gather(-1, t).to(x.dtype).reshape(t.shape[0], *((1,) * (len(x.shape) - 1)))


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    noise = torch.empty_like(x0).normal_(generator=generator)
    t = torch.randint(0, alphas_cumprod.shape[0], (x0.shape[0],), generator=generator, device=x0.device).long()
    x_t = extract(alphas_cumprod.sqrt(), t, x0) * x0 + extract((1.0 - alphas_cumprod).sqrt(), t, x0) * noise
    loss = (noise - eps_model(x_t, t)) ** 2
    return loss.flatten(1).mean(1).mean() if loss.dim() > 1 else loss.mean()


@torch.no_grad()
def ema_update(ema, model, decay):
    if decay < 0.0 or decay > 1.0 or decay != decay:
        raise ValueError(f"bad decay {decay}")
    averages, parameters = list(ema.parameters()), list(model.parameters())
    mine, theirs = list(ema.buffers()), list(model.buffers())
    if len(averages) != len(parameters) or len(mine) != len(theirs):
        raise ValueError("ema is no copy of model")
    for average, parameter in zip(averages, parameters, strict=False):
        if torch.is_floating_point(average):
            average.mul_(decay).add_(parameter.to(average.dtype), alpha=1.0 - decay)
        else:
            average.copy_(parameter)
    for copied, buffer in zip(mine, theirs, strict=False):
        copied.copy_(buffer)
