"""diffusers' DDPMScheduler. Its step is for one timestep, so a mixed batch is worked off in groups of equal t; it knows
no posterior, but `sample` prediction with a learned variance of 0 is its mean. add_noise rounds abar to the images'
dtype first (1 - 0.9999 is 0 in bfloat16), so it is handed float64."""

import torch
from diffusers import DDPMScheduler


def scheduler(alphas_cumprod, **config):
    made = DDPMScheduler(len(alphas_cumprod), **{"clip_sample": False, **config})
    made.alphas_cumprod = alphas_cumprod  # its own are float32
    return made


def check(t, x):
    if t.shape != x.shape[:1]:
        raise ValueError("t must have shape [batch]")


def by_step(t, x, function):
    """`function(step, rows)` for each distinct t, put back in order; it wants images to have channels."""
    check(t, x)
    groups = [(t == step).nonzero().flatten() for step in t.unique()]
    done = torch.cat([function(int(t[rows[0]]), rows) for rows in groups])
    return done[torch.cat(groups).argsort()].reshape(x.shape)


def rows_of(x, rows):
    return x[rows].reshape(len(rows), -1)


def q_sample(x0, t, noise, alphas_cumprod):
    check(t, x0)
    return scheduler(alphas_cumprod).add_noise(x0.double(), noise.double(), t).to(x0.dtype)


def predict_x0(x_t, t, eps, alphas_cumprod):
    made = scheduler(alphas_cumprod)

    def predict(step, rows):
        unused = torch.Generator(x_t.device)
        return made.step(rows_of(eps, rows), step, rows_of(x_t, rows), generator=unused).pred_original_sample

    return by_step(t, x_t, predict)


def q_posterior(x0, x_t, t, betas):
    made = scheduler((1 - betas).cumprod(0), variance_type="learned", prediction_type="sample")

    def mean(step, rows):
        output, unused = rows_of(x0, rows), torch.Generator(x_t.device)
        output = torch.cat([output, torch.zeros_like(output)], 1)
        return made.step(output, step, rows_of(x_t, rows), generator=unused).prev_sample

    def variance(step, rows):
        return torch.ones_like(x_t[rows]) * made._get_variance(step, variance_type="fixed_small")

    return by_step(t, x_t, mean), by_step(t, x_t, variance)


def p_sample(eps_model, x_t, t, betas, *, variance="posterior", clip_x0=False, generator=None):
    names = {"posterior": "fixed_small", "beta": "fixed_large"}
    if variance not in names:
        raise ValueError(f"variance must be one of {list(names)}")
    made = scheduler((1 - betas).cumprod(0), variance_type=names[variance], clip_sample=clip_x0)
    eps = eps_model(x_t, t)

    def sample(step, rows):
        return made.step(rows_of(eps, rows), step, rows_of(x_t, rows), generator=generator).prev_sample

    return by_step(t, x_t, sample)


@torch.no_grad()
def p_sample_loop(eps_model, shape, betas, *, generator=None, progress=None):
    made = scheduler((1 - betas).cumprod(0))
    made.set_timesteps(len(betas), device=betas.device)
    x = torch.randn(shape, generator=generator, dtype=betas.dtype, device=betas.device)
    for step in progress(made.timesteps) if progress else made.timesteps:
        eps = eps_model(x, step.expand(shape[0]))
        x = made.step(eps.reshape(shape[0], -1), step, x.reshape(shape[0], -1), generator=generator).prev_sample
        x = x.reshape(shape)
    return x
