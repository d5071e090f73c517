"""As schedulers do it: a step is for one timestep, so a mixed batch is worked off in groups of equal t. The coefficients
are 0-d tensors or Python numbers, and nothing needs reshaping."""

import torch


def groups(t, x):
    if t.size() != x.size()[:1]:
        raise ValueError("t must have one entry for each element of the batch")
    return [(int(step), (t == step).nonzero()[:, 0]) for step in t.unique()]


def q_sample(x0, t, noise, alphas_cumprod):
    x_t = x0.clone()
    for step, rows in groups(t, x0):
        a = alphas_cumprod[step].item()
        x_t[rows] = a**0.5 * x0[rows] + (1 - a) ** 0.5 * noise[rows]
    return x_t


def predict_x0(x_t, t, eps, alphas_cumprod):
    x0 = x_t.clone()
    for step, rows in groups(t, x_t):
        a = alphas_cumprod[step].item()
        x0[rows] = (x_t[rows] - (1 - a) ** 0.5 * eps[rows]) / a**0.5
    return x0


def weights(step, betas, abar):
    beta, now, before = betas[step].item(), abar[step].item(), abar[step - 1].item() if step else 1.0
    return before**0.5 * beta / (1 - now), (1 - beta) ** 0.5 * (1 - before) / (1 - now), beta * (1 - before) / (1 - now)


def q_posterior(x0, x_t, t, betas):
    mean, variance = x_t.clone(), torch.zeros_like(x_t)
    abar = torch.cumprod(1 - betas.double(), 0)
    for step, rows in groups(t, x_t):
        c0, ct, var = weights(step, betas.double(), abar)
        mean[rows] = c0 * x0[rows] + ct * x_t[rows]
        variance[rows] = var
    return mean, variance


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    if variance not in ["posterior", "beta"]:
        raise ValueError('"posterior" or "beta"')
    betas = betas.double()
    abar = torch.cumprod(1 - betas, 0)
    x0 = predict_x0(x_t, t, eps_model(x_t, t), abar)
    if clip_x0:
        x0 = x0.clamp_(-1, 1)
    result = torch.zeros_like(x_t)
    for step, rows in groups(t, x_t):
        c0, ct, var = weights(step, betas, abar)
        result[rows] = c0 * x0[rows] + ct * x_t[rows]
        if step > 0:
            std = (var if variance == "posterior" else betas[step].item()) ** 0.5
            noise = torch.randn(len(rows), *x_t.shape[1:], generator=generator, dtype=torch.float32, device=x_t.device)
            result[rows] += std * noise.to(x_t.dtype)
    return result


def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=lambda steps: steps):
    grad = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        x = torch.zeros(shape, dtype=betas.dtype, device=betas.device).normal_(generator=generator)
        for step in (progress or iter)(range(betas.numel() - 1, -1, -1)):
            x = p_sample(eps_model, x, torch.zeros(shape[0]).long().to(x.device) + step, betas, generator=generator)
    finally:
        torch.set_grad_enabled(grad)
    return x
