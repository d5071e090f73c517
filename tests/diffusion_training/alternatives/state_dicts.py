"""The average through state_dict and load_state_dict, which copies in place; what a state_dict does not hold is copied
by hand. The embedding in numpy; the loss with addcmul and a table of both weights."""

import numpy as np
import torch


def timestep_embedding(t, dim, max_period=10000):
    steps = t.cpu().numpy()
    if dim < 2 or steps.ndim != 1:
        raise ValueError("dim must be 2 or more, and t one-dimensional")
    half = dim // 2
    angles = np.outer(steps, float(max_period) ** -(np.arange(half) / half))
    columns = [np.cos(angles), np.sin(angles), np.zeros((len(steps), dim - 2 * half))]
    return torch.from_numpy(np.concatenate(columns, 1)).to(t.device, torch.float32)


def ddpm_loss(eps_model, x0, alphas_cumprod, *, generator=None):
    table = torch.stack([alphas_cumprod, 1 - alphas_cumprod], 1).sqrt()  # [steps, 2]
    t = torch.randint(high=len(table), size=(len(x0),), generator=generator, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    signal, spread = (w.to(x0.dtype).view(-1, *(1 for _ in x0.shape[1:])) for w in table[t].unbind(1))
    x_t = torch.addcmul(signal * x0, spread.expand_as(noise), noise)
    return torch.mean(torch.square(torch.sub(eps_model(x_t, t), noise)))


def ema_update(ema, model, decay):
    if min(decay, 1 - decay) < 0 or np.isnan(decay):
        raise ValueError("0 <= decay <= 1")
    current, average = model.state_dict(), ema.state_dict()
    buffers = dict(model.named_buffers())
    if current.keys() != average.keys() or buffers.keys() != dict(ema.named_buffers()).keys():
        raise ValueError("the two modules differ")
    new = {}
    for name, old in average.items():
        if name in buffers or not old.is_floating_point():
            new[name] = current[name]
        else:
            new[name] = decay * old + (1 - decay) * current[name].to(old.dtype)
    ema.load_state_dict(new)
    for name, buffer in ema.named_buffers():
        if name not in average:
            buffer.copy_(buffers[name])
