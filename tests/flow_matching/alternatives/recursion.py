"""The sampler as a recursion over times that are cumulated differences; everything under inference mode."""

from functools import reduce

import torch


def column(t, x):
    if t.ndim != 1 or t.numel() != x.shape[0]:
        raise ValueError("t is [batch]")
    return t.view(t.numel(), *(1 for _ in x.shape[1:])) if t.is_contiguous() else column(t.contiguous(), x)


def both(a, b, t):
    if a.shape != b.shape:
        raise ValueError("one shape")
    wide = torch.promote_types(a.dtype, t.dtype)
    return a.to(wide), b.to(wide), column(t, a).to(wide)


def interpolate(x0, noise, t):
    a, b, s = both(x0, noise, t)
    return (s * b - (s - 1) * a).to(x0.dtype), -(x0 - noise)


def velocity_to_x0(x_t, v, t):
    x, slope, s = both(x_t, v, t)
    return (x - s * slope).to(x_t.dtype)


def velocity_to_noise(x_t, v, t):
    x, slope, s = both(x_t, v, t)
    return (x + (1 - s) * slope).to(x_t.dtype)


DENSITIES = {
    "uniform": (torch.rand, lambda u: u),
    "logit_normal": (torch.randn, lambda z: (1 + (-z).exp()).reciprocal()),
}


def sample_times(batch, *, density="uniform", generator=None, dtype=torch.float32, device=None):
    if density not in DENSITIES:
        raise ValueError("density")
    draw, transform = DENSITIES[density]
    return transform(draw(batch, generator=generator, dtype=dtype, device=device))


def flow_loss(v_model, x0, *, density="uniform", generator=None):
    half = x0.dtype in (torch.float16, torch.bfloat16)
    t = sample_times(
        x0.size(0), density=density, generator=generator, dtype=torch.float if half else x0.dtype, device=x0.device
    )
    noise = torch.randn(x0.shape, generator=generator, dtype=x0.dtype, device=x0.device)
    x_t, target = interpolate(x0, noise, t)
    prediction = v_model(x_t, t)
    if half:
        prediction, target = prediction.float(), target.float()
    return (
        ((prediction - target) ** 2).flatten(1).mean(1).mean() if x0.dim() > 1 else ((prediction - target) ** 2).mean()
    )


def shift_times(t, shift):
    if not shift > 0 or shift == float("inf"):
        raise ValueError("shift")
    noise, data = shift * t, 1 - t
    return noise / (noise + data)


def sample(v_model, noise, steps, *, method="euler", shift=1.0):
    if steps < 1 or method not in {"euler", "heun"}:
        raise ValueError("steps or method")
    half = noise.dtype in (torch.float16, torch.bfloat16)
    kind = {"dtype": torch.float if half else noise.dtype, "device": noise.device}
    times = shift_times(torch.linspace(1, 0, steps + 1, **kind), shift)
    lengths = -times.diff()  # positive

    def velocity(x, t):
        return v_model(x.to(noise.dtype), torch.ones(len(noise), **kind) * t).to(kind["dtype"])

    def step(state, length):
        x, t = state
        v = velocity(x, t)
        ahead = x - length * v
        if method == "heun":
            ahead = (x + ahead - length * velocity(ahead, t - length)) / 2
        return ahead, t - length

    with torch.inference_mode():
        end, _ = reduce(step, lengths, (noise.to(kind["dtype"]), torch.ones((), **kind)))
    return end.clone().to(noise.dtype)
