"""Step by step, with a branch for everything and an index into the times."""

import math

import torch


def interpolate(x0, noise, t):
    if x0.shape != noise.shape:
        raise ValueError("x0 and noise must have the same shape")
    if t.shape != torch.Size([x0.shape[0]]):
        raise ValueError("t must have shape [batch]")
    weight_of_noise = t.double()
    weight_of_data = 1.0 - weight_of_noise
    while weight_of_noise.dim() < x0.dim():
        weight_of_noise = weight_of_noise.unsqueeze(-1)
        weight_of_data = weight_of_data.unsqueeze(-1)
    x_t = weight_of_data.to(x0.dtype) * x0 + weight_of_noise.to(x0.dtype) * noise
    velocity = noise - x0
    return x_t, velocity


def velocity_to_x0(x_t, v, t):
    if x_t.shape != v.shape:
        raise ValueError("x_t and v must have the same shape")
    if t.shape != torch.Size([x_t.shape[0]]):
        raise ValueError("t must have shape [batch]")
    shape = [x_t.shape[0]] + [1] * (len(x_t.shape) - 1)
    return x_t - t.to(x_t.dtype).reshape(shape) * v


def velocity_to_noise(x_t, v, t):
    if x_t.shape != v.shape:
        raise ValueError("x_t and v must have the same shape")
    if t.shape != torch.Size([x_t.shape[0]]):
        raise ValueError("t must have shape [batch]")
    shape = [x_t.shape[0]] + [1] * (len(x_t.shape) - 1)
    rest = (1.0 - t.double()).to(x_t.dtype)
    return x_t + rest.reshape(shape) * v


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    if density == "uniform":
        t = torch.rand(batch, generator=generator, dtype=dtype, device=device)
    elif density == "logit_normal":
        normal = torch.randn(batch, generator=generator, dtype=dtype, device=device)
        t = torch.sigmoid(normal)
    else:
        raise ValueError("density must be uniform or logit_normal")
    return t


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    dtype = torch.float64 if x0.dtype == torch.float64 else torch.float32
    batch = x0.shape[0]
    t = sample_times(batch, density=density, generator=generator, dtype=dtype, device=x0.device)
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t, velocity = interpolate(x0, noise, t)
    prediction = v_model(x_t, t)
    loss = torch.nn.MSELoss()
    return loss(prediction.to(dtype), velocity.to(dtype))


def shift_times(t, shift):
    if shift <= 0 or math.isnan(shift) or math.isinf(shift):
        raise ValueError("shift must be positive and finite")
    return (shift * t) / (1 + (shift - 1) * t)


def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if steps < 1:
        raise ValueError("steps must be at least 1")
    if method not in ["euler", "heun"]:
        raise ValueError("method must be euler or heun")
    dtype = torch.float64 if noise.dtype == torch.float64 else torch.float32
    batch = noise.shape[0]
    times = torch.linspace(1, 0, steps + 1, dtype=dtype, device=noise.device)
    times = shift_times(times, shift)
    x = noise.detach().to(dtype).clone()
    previous = torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        for i in range(steps):
            t = times[i]
            t_next = times[i + 1]
            dt = t_next - t
            t_batch = t * torch.ones(batch, dtype=dtype, device=noise.device)
            v1 = v_model(x.to(noise.dtype), t_batch).to(dtype)
            if method == "euler":
                x = x + dt * v1
            else:
                t_next_batch = t_next * torch.ones(batch, dtype=dtype, device=noise.device)
                x_euler = x + dt * v1
                v2 = v_model(x_euler.to(noise.dtype), t_next_batch).to(dtype)
                x = x + dt * (v1 + v2) / 2
    finally:
        torch.set_grad_enabled(previous)
    return x.to(noise.dtype)
