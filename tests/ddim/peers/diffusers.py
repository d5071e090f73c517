"""diffusers' DDIMScheduler. It makes no mixed batches, so a batch is worked off in groups of equal steps, and it knows no
t_prev: it subtracts num_train_timesteps // num_inference_steps, which is set to the jump that is asked for. Its own grid
("leading") strides by steps // count, so it is used where count divides steps."""

from itertools import pairwise

import torch
from diffusers import DDIMScheduler


def scheduler(alphas_cumprod):
    made = DDIMScheduler(len(alphas_cumprod), clip_sample=False, set_alpha_to_one=True)
    made.alphas_cumprod = alphas_cumprod.double()  # its own are float32
    made.final_alpha_cumprod = torch.tensor(1.0, dtype=torch.float64)
    return made


def ddim_timesteps(steps, count):
    if not 1 <= count <= steps:
        raise ValueError("count must be from 1 to steps")
    if steps % count:
        return [i * steps // count for i in reversed(range(count))]
    made = DDIMScheduler(steps, timestep_spacing="leading", steps_offset=0)
    made.set_timesteps(count)
    return made.timesteps.tolist()


def one_jump(made, step, earlier, x, eps, eta, noise):
    made.register_to_config(num_train_timesteps=step - earlier)
    made.num_inference_steps = 1
    wide = [None if image is None else image.double() for image in (eps, x, noise)]
    return made.step(wide[0], step, wide[1], eta=eta, variance_noise=wide[2]).prev_sample.to(x.dtype)


def ddim_step(x_t, eps, t, t_prev, alphas_cumprod, eta=0.0, noise=None):
    if not 0 <= eta <= 1 or (eta > 0 and noise is None):
        raise ValueError("eta must be from 0 to 1, with noise above 0")
    if t.shape != x_t.shape[:1] or t_prev.shape != x_t.shape[:1]:
        raise ValueError("t and t_prev must have shape [batch]")
    made = scheduler(alphas_cumprod)
    rows = []
    for row, (step, earlier) in enumerate(zip(t.tolist(), t_prev.tolist(), strict=True)):
        one = slice(row, row + 1)
        rows.append(one_jump(made, step, earlier, x_t[one], eps[one], eta, None if noise is None else noise[one]))
    return torch.cat(rows)


@torch.no_grad()
def ddim_sample(eps_model, shape, timesteps, alphas_cumprod, eta=0.0, *, generator=None):
    ends = [len(alphas_cumprod), *timesteps, -1]
    if not timesteps or any(a <= b for a, b in pairwise(ends)) or not 0 <= eta <= 1:
        raise ValueError("eta must be from 0 to 1, and the timesteps must fall within the schedule")
    made = scheduler(alphas_cumprod)
    x = torch.randn(shape, generator=generator, dtype=alphas_cumprod.dtype, device=alphas_cumprod.device)
    for step, earlier in zip(timesteps, [*timesteps[1:], -1], strict=True):
        eps = eps_model(x, torch.full(shape[:1], step, device=x.device))
        noise = torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)
        x = one_jump(made, step, earlier, x, eps, eta, noise)
    return x
