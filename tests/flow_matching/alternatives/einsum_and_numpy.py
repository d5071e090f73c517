"""Weights by einsum in float64; the grid and its shift in numpy. The step is written from the data that the model sees."""

import itertools

import numpy as np
import torch


def moved(x, along, way):
    """x + way along, with one way for each element."""
    return (x.double() + torch.einsum("b,b...->b...", way, along.double())).to(x.dtype)


def checked(x, y, t):
    if x.shape != y.shape:
        raise ValueError("shapes")
    if tuple(t.shape) != tuple(x.shape[:1]):
        raise ValueError("times")
    return t.to(torch.float64)


def interpolate(x0, noise, t):
    ways = checked(x0, noise, t)
    velocity = noise - x0
    return moved(x0, noise.double() - x0.double(), ways), velocity


def velocity_to_x0(x_t, v, t):
    return moved(x_t, v, -checked(x_t, v, t))


def velocity_to_noise(x_t, v, t):
    return moved(x_t, v, 1 - checked(x_t, v, t))


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    if density == "uniform":
        draws = torch.rand(batch, generator=generator, dtype=torch.float64, device=device)
    elif density == "logit_normal":
        draws = torch.randn(batch, generator=generator, dtype=torch.float64, device=device)
        draws = 0.5 + 0.5 * torch.tanh(draws / 2)
    else:
        raise ValueError("density")
    return draws.to(dtype)


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    wide = torch.float64 if x0.dtype is torch.float64 else torch.float32
    shape = [x0.shape[0], x0[0].numel()]
    noise = torch.randn(shape, generator=generator, device=x0.device, dtype=wide).reshape(x0.shape).to(x0.dtype)
    t = sample_times(shape[0], density=density, generator=generator, dtype=wide, device=x0.device)
    x_t, velocity = interpolate(x0, noise, t)
    difference = (v_model(x_t, t).to(wide) - velocity.to(wide)).flatten()
    return difference.square().mean()


def shift_times(t, shift):
    if not 0 < shift < float("inf"):
        raise ValueError("shift")
    wide = t.detach().double().cpu().numpy()
    return torch.as_tensor(np.asarray(shift * wide / (1 + (shift - 1) * wide))).to(t)


def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if steps <= 0:
        raise ValueError("steps")
    if method != "euler" and method != "heun":
        raise ValueError("method")
    wide = torch.float64 if noise.dtype is torch.float64 else torch.float32
    times = shift_times(torch.from_numpy(np.linspace(1.0, 0.0, steps + 1)), shift).numpy()

    def look(x, time):
        t = torch.from_numpy(np.full(len(noise), time)).to(wide).to(noise.device)
        return v_model(x.to(noise.dtype), t).to(torch.float64)

    with torch.no_grad():
        x = noise.to(torch.float64)
        for now, then in itertools.pairwise(times):
            v = look(x, now)
            data, end = x - now * v, x + (1 - now) * v  # the two ends of the line
            ahead = (1 - then) * data + then * end
            if method == "heun":
                w = look(ahead, then)
                ahead = x + (then - now) * 0.5 * (v + w)
            x = ahead
        return x.to(noise.dtype)
