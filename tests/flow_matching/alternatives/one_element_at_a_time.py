"""Loops over the batch for lines and ends, in float64, rounded at the end. Times as Python floats. Two samplers."""

import math

import torch


def wide(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32


def check(x, y, t):
    if list(x.shape) != list(y.shape):
        raise ValueError("the shapes differ")
    if t.dim() != 1 or len(t) != len(x):
        raise ValueError("one time for each element")


def rows(function, x, y, t):
    made = [function(x[i].double(), y[i].double(), t[i].double()).to(x.dtype) for i in range(len(x))]
    return torch.stack(made)


def interpolate(x0, noise, t):
    check(x0, noise, t)
    x_t = rows(lambda a, b, s: a + s * (b - a), x0, noise, t)
    return x_t, rows(lambda a, b, s: b - a, x0, noise, t)


def velocity_to_x0(x_t, v, t):
    check(x_t, v, t)
    return rows(lambda x, slope, s: x - s * slope, x_t, v, t)


def velocity_to_noise(x_t, v, t):
    check(x_t, v, t)
    return rows(lambda x, slope, s: x - s * slope + slope, x_t, v, t)


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    if density not in ("uniform", "logit_normal"):
        raise ValueError("unknown density")
    t = torch.empty(batch, dtype=dtype, device=device)
    if density == "uniform":
        return t.uniform_(generator=generator)
    z = t.normal_(generator=generator)
    return 1 / (1 + torch.exp(-z))


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    dtype = wide(x0.dtype)
    noise = torch.empty_like(x0).normal_(generator=generator)  # before the times
    t = sample_times(x0.shape[0], density=density, generator=generator, dtype=dtype, device=x0.device)
    x_t, velocity = interpolate(x0, noise, t)
    errors = v_model(x_t, t).to(dtype) - velocity.to(dtype)
    return errors.pow(2).sum() / errors.numel()


def shift_times(t, shift):
    if math.isnan(shift) or math.isinf(shift) or shift <= 0:
        raise ValueError("shift")
    return t / (t + (1 - t) / shift)


def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if method not in ("euler", "heun") or steps < 1:
        raise ValueError("method or steps")
    grid = [1 - i / steps for i in range(steps)] + [0.0]
    times = shift_times(torch.tensor(grid, dtype=torch.float64), shift).tolist()
    with torch.no_grad():
        run = euler if method == "euler" else heun
        return run(v_model, noise, times)


def ask(v_model, x, time, noise):
    t = torch.full((len(noise),), time, dtype=wide(noise.dtype), device=noise.device)
    return v_model(x.to(noise.dtype), t).to(x.dtype)


def euler(v_model, noise, times):
    x = noise.clone().to(wide(noise.dtype))
    for i in range(len(times) - 1):
        x -= (times[i] - times[i + 1]) * ask(v_model, x, times[i], noise)
    return x.to(noise.dtype)


def heun(v_model, noise, times):
    x = noise.clone().to(wide(noise.dtype))
    for i in range(len(times) - 1):
        way = times[i] - times[i + 1]
        first = ask(v_model, x, times[i], noise)
        guess = x - way * first
        second = ask(v_model, guess, times[i + 1], noise)
        x = x - way * 0.5 * first - way * 0.5 * second
    return x.to(noise.dtype)
