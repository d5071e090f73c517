"""diffusers' DDIMScheduler: add_noise, the pipelines' slice of the timesteps, and its step. Its grid is replaced by the
given timesteps, and its stride (num_train_timesteps // num_inference_steps) is set to the jump that is asked for, as it
knows no t_prev. Its pipelines cut the number of steps off, so the rounding is Python's."""

import torch
from diffusers import DDIMScheduler


def start_step(steps, strength):
    if not 0 <= strength <= 1:
        raise ValueError("strength must be from 0 to 1")
    return min(round(steps * strength), steps)


@torch.no_grad()
def image_to_image(eps_model, x0, strength, timesteps, alphas_cumprod, *, generator=None):
    made = DDIMScheduler(len(alphas_cumprod), clip_sample=False, set_alpha_to_one=True)
    made.alphas_cumprod = alphas_cumprod.double()  # its own are float32
    made.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    made.set_timesteps(len(timesteps), x0.device)
    made.timesteps = torch.tensor(timesteps, device=x0.device)

    t_start = max(len(timesteps) - start_step(len(timesteps), strength), 0)
    run = made.timesteps[t_start:]
    if not len(run):
        return x0.clone()
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x = made.add_noise(x0.double(), noise.double(), run[:1].expand(len(x0))).to(x0.dtype)
    for t, t_prev in zip(run.tolist(), [*run[1:].tolist(), -1], strict=True):
        eps = eps_model(x, torch.full((len(x),), t, device=x.device))
        made.register_to_config(num_train_timesteps=t - t_prev)
        made.num_inference_steps = 1
        x = made.step(eps.double(), t, x.double()).prev_sample.to(x0.dtype)
    return x
