"""The posterior by Bayes' rule itself: precisions of two Gaussians add. The coefficients multiply by einsum, images are
computed in float64 and rounded once at the end, and the timesteps are a tensor."""

import torch


def times(coefficient, x):
    if coefficient.shape != (x.shape[0],):
        raise ValueError("t needs the shape [batch]")
    return torch.einsum("b,b...->b...", coefficient.double(), x.double())


def q_sample(x0, t, noise, alphas_cumprod):
    abar = alphas_cumprod.double().index_select(0, t) if t.dim() == 1 else t
    return (times(abar.sqrt(), x0) + times((1 - abar).sqrt(), noise)).to(x0.dtype)


def predict_x0(x_t, t, eps, alphas_cumprod):
    abar = alphas_cumprod.double()[t]
    return times(abar.rsqrt(), x_t - times((1 - abar).sqrt(), eps)).to(x_t.dtype)


def posterior(x0, x_t, t, betas):
    beta = betas.double()[t]
    log_abar = torch.log1p(-betas.double()).cumsum(0)
    before = torch.where(t > 0, log_abar[(t - 1).clamp(min=0)].exp(), torch.ones_like(beta))
    prior = 1 / (1 - before).clamp(min=1e-30)  # x_{t-1} given x0; certain before step 0
    likelihood = (1 - beta) / beta  # x_{t-1} given x_t alone
    variance = 1 / (prior + likelihood)
    mean = times(variance * prior * before.sqrt(), x0) + times(variance * likelihood / (1 - beta).sqrt(), x_t)
    return mean, variance


def q_posterior(x0, x_t, t, betas):
    mean, variance = posterior(x0, x_t, t, betas)
    return mean.to(x_t.dtype), variance[(slice(None), *[None] * (x_t.dim() - 1))].to(x_t.dtype)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    if variance not in {"posterior", "beta"}:
        raise ValueError("variance must be posterior or beta")
    eps = eps_model(x_t, t)
    x0 = predict_x0(x_t.double(), t, eps.double(), torch.cumprod(1 - betas.double(), 0))
    if clip_x0:
        x0 = x0.clamp(-1, 1)
    mean, spread = posterior(x0, x_t, t, betas)
    if variance == "beta":
        spread = betas.double()[t]
    noise = torch.normal(0.0, 1.0, x_t.shape, generator=generator, dtype=torch.float64, device=x_t.device)
    return (mean + times(spread.sqrt() * t.clamp(max=1), noise)).to(x_t.dtype)


@torch.no_grad()
def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    x = torch.normal(0.0, 1.0, tuple(shape), generator=generator, dtype=betas.dtype, device=betas.device)
    steps = torch.arange(len(betas), device=betas.device).flip(0)
    for step in (progress or iter)(steps):
        x = p_sample(eps_model, x, step.repeat(shape[0]), betas, generator=generator)
    return x
