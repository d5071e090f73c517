"""A beginner's version: plain Python numbers, a loop over the batch, torch.stack. The schedule is walked through once for
each call, and the model still sees the whole batch."""

import math

import torch


def check(t, x):
    if list(t.shape) != [x.shape[0]]:
        raise ValueError("t must hold one step per element")


def products(betas):
    abar = []
    product = 1.0
    for beta in betas.tolist():
        product = product * (1 - beta)
        abar.append(product)
    return abar


def q_sample(x0, t, noise, alphas_cumprod):
    check(t, x0)
    out = []
    for i in range(len(x0)):
        abar = float(alphas_cumprod[t[i]])
        out.append(math.sqrt(abar) * x0[i] + math.sqrt(1 - abar) * noise[i])
    return torch.stack(out)


def predict_x0(x_t, t, eps, alphas_cumprod):
    check(t, x_t)
    out = []
    for i in range(len(x_t)):
        abar = float(alphas_cumprod[t[i]])
        out.append((x_t[i] - math.sqrt(1 - abar) * eps[i]) / math.sqrt(abar))
    return torch.stack(out)


def q_posterior(x0, x_t, t, betas):
    check(t, x_t)
    abar = products(betas)
    means, variances = [], []
    for i in range(len(x_t)):
        step = int(t[i])
        beta = float(betas[step])
        before = abar[step - 1] if step > 0 else 1.0
        weight_x0 = math.sqrt(before) * beta / (1 - abar[step])
        weight_xt = math.sqrt(1 - beta) * (1 - before) / (1 - abar[step])
        means.append(weight_x0 * x0[i] + weight_xt * x_t[i])
        variances.append(torch.full_like(x_t[i], beta * (1 - before) / (1 - abar[step])))
    return torch.stack(means), torch.stack(variances)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    if variance != "posterior" and variance != "beta":
        raise ValueError("variance?")
    eps = eps_model(x_t, t)
    abar = torch.tensor(products(betas), dtype=torch.float64)
    x0 = predict_x0(x_t, t, eps, abar)
    if clip_x0:
        x0 = torch.clamp(x0, -1, 1)
    mean, var = q_posterior(x0, x_t, t, betas)
    rows = []
    for i in range(len(x_t)):
        if t[i] == 0:
            rows.append(mean[i])
            continue
        noise = torch.randn(x_t[i].shape, generator=generator, dtype=x_t.dtype, device=x_t.device)
        if variance == "posterior":
            rows.append(mean[i] + torch.sqrt(var[i]) * noise)
        else:
            rows.append(mean[i] + math.sqrt(float(betas[t[i]])) * noise)
    return torch.stack(rows)


def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    x = torch.randn(tuple(shape), generator=generator, dtype=betas.dtype, device=betas.device)
    steps = list(range(len(betas)))
    steps.reverse()
    if progress:
        steps = progress(steps)
    for step in steps:
        t = torch.ones(shape[0], dtype=torch.long, device=betas.device) * step
        with torch.no_grad():
            x = p_sample(eps_model, x, t, betas, generator=generator)
    return x
