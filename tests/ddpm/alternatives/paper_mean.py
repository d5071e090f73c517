"""The paper's own form: the mean straight from eps (equation 11), and through x0 only when that is to be clipped. Picks
with gather, masks with torch.where, and the loop draws all of its noise in advance."""

import torch


def pick(schedule, t, x):
    if t.dim() != 1 or len(t) != len(x):
        raise ValueError("one timestep for each element of the batch, please")
    return schedule.gather(0, t).to(x.dtype)[(...,) + (None,) * (x.dim() - 1)]


def shifted(abar):
    return torch.nn.functional.pad(abar[:-1], (1, 0), value=1.0)


def q_sample(x0, t, noise, alphas_cumprod):
    return torch.addcmul(
        pick(alphas_cumprod**0.5, t, x0) * x0, pick((1.0 - alphas_cumprod) ** 0.5, t, x0).expand_as(x0), noise
    )


def predict_x0(x_t, t, eps, alphas_cumprod):
    return pick(1 / alphas_cumprod.sqrt(), t, x_t) * x_t - pick((1 / alphas_cumprod - 1).sqrt(), t, x_t) * eps


def q_posterior(x0, x_t, t, betas):
    abar = torch.cumprod(1 - betas, 0)
    before = shifted(abar)
    share = (1 - before) / (1 - abar)
    mean = pick(before.sqrt() * (1 - share * (1 - betas)), t, x_t) * x0 + pick((1 - betas).sqrt() * share, t, x_t) * x_t
    return mean, pick(share * betas, t, x_t)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    abar = torch.cumprod(1 - betas, 0)
    if variance == "posterior":
        spread = betas * (1 - shifted(abar)) / (1 - abar)
    elif variance == "beta":
        spread = betas
    else:
        raise ValueError("variance is posterior or beta")
    eps = eps_model(x_t, t)
    if clip_x0:
        mean, _ = q_posterior(predict_x0(x_t, t, eps, abar).clip(-1.0, 1.0), x_t, t, betas)
    else:
        mean = (x_t - pick(betas / (1 - abar).sqrt(), t, x_t) * eps) / pick((1 - betas).sqrt(), t, x_t)
    z = torch.empty_like(x_t).normal_(generator=generator)
    last = (t == 0)[(...,) + (None,) * (x_t.dim() - 1)]
    return torch.where(last, mean, mean + pick(spread.sqrt(), t, x_t) * z)


@torch.no_grad()
def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    steps = len(betas)
    abar = torch.cumprod(1 - betas, 0)
    sigma = (betas * (1 - shifted(abar)) / (1 - abar)).sqrt()
    z = torch.randn((steps + 1, *shape), generator=generator, dtype=betas.dtype, device=betas.device)
    x = z[steps]
    timesteps = list(range(steps))[::-1]
    if progress is not None:
        timesteps = progress(timesteps)
    for i in timesteps:
        eps = eps_model(x, torch.tensor([i] * shape[0], device=betas.device))
        x = (x - betas[i] / (1 - abar[i]).sqrt() * eps) / (1 - betas[i]).sqrt() + sigma[i] * z[i]
    return x
