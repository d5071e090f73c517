"""Times by their log-odds: the shift adds to them, and the logit-normal is normal in them. A table of Runge-Kutta weights."""

import math

import torch

TABLES = {"euler": ([], [1.0]), "heun": ([1.0], [0.5, 0.5])}  # the later stage, and the weights of the stages


def images_of(t, x):
    if t.shape != (x.shape[0],):
        raise ValueError("t must be [batch]")
    return t[(...,) + (None,) * (x.dim() - 1)]


def interpolate(x0, noise, t):
    if x0.size() != noise.size():
        raise ValueError("x0 and noise differ in shape")
    t = images_of(t, x0)
    dtype = torch.promote_types(t.dtype, x0.dtype)
    x_t = torch.lerp(x0.to(dtype), noise.to(dtype), t.to(dtype).expand(x0.shape))
    return x_t.to(x0.dtype), torch.sub(noise, x0)


def velocity_to_x0(x_t, v, t):
    return ends(x_t, v, t)[0]


def velocity_to_noise(x_t, v, t):
    return ends(x_t, v, t)[1]


def ends(x_t, v, t):
    if x_t.size() != v.size():
        raise ValueError("x_t and v differ in shape")
    t = images_of(t, x_t)
    dtype = torch.promote_types(t.dtype, x_t.dtype)
    x, v, t = x_t.to(dtype), v.to(dtype), t.to(dtype)
    return tuple(torch.addcmul(x, way, v).to(x_t.dtype) for way in (-t, 1 - t))


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    kind = {"generator": generator, "dtype": dtype, "device": device}
    match density:
        case "uniform":
            return 1 - torch.rand((batch,), **kind)
        case "logit_normal":
            return torch.special.expit(torch.randn((batch,), **kind))
    raise ValueError(f"no density {density}")


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    dtype = torch.promote_types(x0.dtype, torch.float32)
    t = sample_times(len(x0), density=density, generator=generator, dtype=dtype, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=dtype, device=x0.device).to(x0.dtype)
    x_t, velocity = interpolate(x0, noise, t)
    error = v_model(x_t, t).to(dtype) - velocity
    return torch.mean(error * error)


def shift_times(t, shift):
    if not (math.isfinite(shift) and shift > 0):
        raise ValueError("shift")
    return torch.sigmoid(torch.logit(t.double()) + math.log(shift)).to(t.dtype)


def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if method not in TABLES:
        raise ValueError("method")
    if not steps >= 1:
        raise ValueError("steps")
    later, weights = TABLES[method]
    dtype = torch.promote_types(noise.dtype, torch.float32)
    times = shift_times(torch.arange(steps, -1, -1, dtype=dtype, device=noise.device) / steps, shift)
    x = noise.to(dtype)
    with torch.no_grad():
        for t, dt in zip(times, times.diff(), strict=False):
            slopes = []
            for stage in [0.0, *later]:
                at = x + stage * dt * slopes[-1] if slopes else x
                now = (t + stage * dt).expand(len(noise))
                slopes.append(v_model(at.to(noise.dtype), now).to(dtype))
            x = x + dt * sum(weight * slope for weight, slope in zip(weights, slopes, strict=True))
    return x.to(noise.dtype)
