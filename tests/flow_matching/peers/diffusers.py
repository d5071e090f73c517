"""diffusers' FlowMatchEulerDiscreteScheduler, and the densities of its training scripts. Its step goes to any other time: to 0
for the data, to 1 for the noise. It takes one time for a batch, so a sample's own times are one row of its sigmas.

Its Heun scheduler ends with an Euler step and divides by the time, which is 0 there; so Heun is written with the Euler
step here. float64 it casts to float32."""

import math

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.training_utils import compute_density_for_timestep_sampling
from torch import Tensor
from torch.nn import functional as F


class Wide(Tensor):
    """A tensor that stays float64 where it is cast to float32."""

    def to(self, *args, **kwargs):
        return self if args[:1] == (torch.float32,) else super().to(*args, **kwargs)


def scheduler(*sigmas):
    made = FlowMatchEulerDiscreteScheduler()
    made.sigmas = torch.stack(sigmas)
    made.set_begin_index(0)
    made._step_index = 0
    return made


def step(made, velocity, x):
    """One step, in float32 at least."""
    wide = torch.promote_types(x.dtype, torch.float32)
    x, velocity = x.to(wide), velocity.to(wide)
    if wide == torch.float64:
        x = x.view_as(x).as_subclass(Wide)
    return made.step(velocity, 0.0, x).prev_sample.as_subclass(Tensor)


def check(first, second, t):
    if first.shape != second.shape or t.shape != first.shape[:1]:
        raise ValueError("shapes")


def interpolate(x0, noise, t):
    check(x0, noise, t)
    wide = torch.promote_types(x0.dtype, t.dtype)
    x_t = scheduler(t).scale_noise(x0.to(wide), t[:1], noise.to(wide))
    return x_t.to(x0.dtype), noise - x0


def moved(x_t, v, t, end):
    """The point at time `end` of the lines through x_t."""
    check(x_t, v, t)
    t = t.to(torch.promote_types(torch.promote_types(t.dtype, x_t.dtype), torch.float32))
    t = t.reshape(-1, *[1] * (x_t.ndim - 1))
    return step(scheduler(t, torch.full_like(t, end)), v, x_t).to(x_t.dtype)


def velocity_to_x0(x_t, v, t):
    return moved(x_t, v, t, 0.0)


def velocity_to_noise(x_t, v, t):
    return moved(x_t, v, t, 1.0)


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    if density not in ("uniform", "logit_normal"):
        raise ValueError(density)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # in which they are drawn
    try:
        return compute_density_for_timestep_sampling(density, batch, 0.0, 1.0, None, device or "cpu", generator)
    finally:
        torch.set_default_dtype(before)


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    wide = torch.promote_types(x0.dtype, torch.float32)
    t = sample_times(len(x0), density=density, generator=generator, dtype=wide, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t, velocity = interpolate(x0, noise, t)
    return F.mse_loss(v_model(x_t, t).to(wide), velocity.to(wide))


def shift_times(t, shift):
    if not 0 < shift < math.inf:
        raise ValueError("shift")
    made = FlowMatchEulerDiscreteScheduler(time_shift_type="linear")
    return made.time_shift(shift, 1.0, t.to(torch.promote_types(t.dtype, torch.float32))).to(t.dtype)


@torch.no_grad()
def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if steps < 1 or method not in ("euler", "heun") or not 0 < shift < math.inf:
        raise ValueError("steps, method or shift")
    wide = torch.promote_types(noise.dtype, torch.float32)
    made = FlowMatchEulerDiscreteScheduler(shift=shift)
    if wide == torch.float32:
        made.set_timesteps(sigmas=torch.linspace(1, 0, steps + 1)[:-1].tolist(), device=noise.device)
    else:  # which set_timesteps rounds
        made.sigmas = shift_times(torch.linspace(1, 0, steps + 1, dtype=wide, device=noise.device), shift)
    made.set_begin_index(0)
    x = noise.to(wide)
    for i in range(steps):
        now, following = (each.expand(len(x)) for each in made.sigmas[i : i + 2])
        made._step_index = i
        velocity = v_model(x.to(noise.dtype), now).to(wide)
        if method == "heun":
            there = step(made, velocity, x)
            velocity = (velocity + v_model(there.to(noise.dtype), following).to(wide)) / 2
            made._step_index = i
        x = step(made, velocity, x)
    return x.to(noise.dtype)
