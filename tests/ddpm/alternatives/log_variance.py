"""As the guided-diffusion family has it: a table of coefficients, the variance as a clipped logarithm, everything expanded
to the image's full shape, noise multiplied by a mask."""

import torch


def extract(values, t, shape, dtype):
    if tuple(t.shape) != tuple(shape[:1]):
        raise ValueError(f"t has shape {tuple(t.shape)}, expected ({shape[0]},)")
    res = torch.take(values, t)
    while res.ndim < len(shape):
        res = res.unsqueeze(-1)
    return res.expand(shape).to(dtype)


def tables(betas):
    ac = torch.cumprod(1.0 - betas, dim=0)
    prev = torch.roll(ac, 1)
    prev[0] = 1.0
    var = betas * (1.0 - prev) / (1.0 - ac)
    log_var = torch.log(torch.cat([var[1:2] if len(var) > 1 else var.clamp(min=1e-20), var[1:]]))
    coef1 = betas * torch.sqrt(prev) / (1.0 - ac)
    coef2 = (1.0 - prev) * torch.sqrt(1.0 - betas) / (1.0 - ac)
    return ac, var, log_var, coef1, coef2


def q_sample(x0, t, noise, alphas_cumprod):
    signal = extract(torch.sqrt(alphas_cumprod), t, x0.shape, x0.dtype)
    spread = extract(torch.sqrt(1.0 - alphas_cumprod), t, x0.shape, x0.dtype)
    return signal * x0 + spread * noise


def predict_x0(x_t, t, eps, alphas_cumprod):
    a = extract(torch.sqrt(1.0 / alphas_cumprod), t, x_t.shape, x_t.dtype)
    b = extract(torch.sqrt(1.0 / alphas_cumprod - 1), t, x_t.shape, x_t.dtype)
    return a * x_t - b * eps


def q_posterior(x0, x_t, t, betas):
    _, var, _, coef1, coef2 = tables(betas)
    shape, dtype = x_t.shape, x_t.dtype
    mean = extract(coef1, t, shape, dtype) * x0 + extract(coef2, t, shape, dtype) * x_t
    return mean, extract(var, t, shape, dtype)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    ac, _, log_var, coef1, coef2 = tables(betas)
    choices = {"posterior": log_var, "beta": torch.log(betas)}
    if variance not in choices:
        raise ValueError(f"unknown variance {variance}")
    shape, dtype = x_t.shape, x_t.dtype
    x0 = predict_x0(x_t, t, eps_model(x_t, t), ac)
    if clip_x0:
        x0 = torch.clamp(x0, min=-1.0, max=1.0)
    mean = extract(coef1, t, shape, dtype) * x0 + extract(coef2, t, shape, dtype) * x_t
    noise = torch.randn(shape, generator=generator, device=x_t.device, dtype=dtype)
    nonzero = (t != 0).to(dtype).view(-1, *([1] * (len(shape) - 1)))
    std = extract(torch.exp(0.5 * choices[variance]), t, shape, dtype)
    return mean + nonzero * std * noise


def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    img = torch.randn(*shape, generator=generator, device=betas.device, dtype=betas.dtype)
    indices = list(range(betas.shape[0]))[::-1]
    for i in progress(indices) if progress is not None else indices:
        t = torch.tensor([i] * shape[0], device=betas.device)
        with torch.no_grad():
            img = p_sample(eps_model, img, t, betas, generator=generator)
    return img
