"""A 2 x 2 matrix for each step takes (x0, noise) to (x_t, prediction). Targets are a row of it, conversions a row of its
inverse, written out by Cramer's rule; the weights come from the determinant."""

import torch

ROWS = {"eps": (0, 1), "x0": (1, 0)}


def rows(t, abar, kind, dims):
    """The weights of x0 and of the noise in x_t and in the prediction, as [batch, 1, ..., 1]."""
    a = abar[t].double()
    a = a[(...,) + (None,) * (dims - 1)]
    in_x = a.sqrt(), (1 - a).sqrt()
    if kind == "v":
        return in_x, (-in_x[1], in_x[0])
    if kind in ROWS:
        return in_x, tuple(torch.full_like(a, value) for value in ROWS[kind])
    raise ValueError(f"{kind!r} is none of eps, x0, v")


def mix(one, of_one, other, of_other, t):
    if one.shape != other.shape:
        raise ValueError(f"{tuple(one.shape)} is not {tuple(other.shape)}")
    return of_one.to(one.dtype) * one + of_other.to(one.dtype) * other


def check(image, t):
    if tuple(t.shape) != tuple(image.shape[:1]):
        raise ValueError("t must be [batch]")


def prediction_target(x0, noise, t, abar, kind):
    check(x0, t)
    _, (of_x0, of_noise) = rows(t, abar, kind, x0.dim())
    return mix(x0, of_x0, noise, of_noise, t)


def solved(x_t, prediction, t, abar, kind, which):
    check(x_t, t)
    (a, b), (c, d) = rows(t, abar, kind, x_t.dim())
    if kind == ("x0", "eps")[which]:
        return mix(x_t, torch.zeros_like(a), prediction, torch.ones_like(a), t)
    determinant = a * d - b * c  # 1 for v
    of_x, of_prediction = ((d, -b), (-c, a))[which]
    return mix(x_t, of_x / determinant, prediction, of_prediction / determinant, t)


def to_x0(x_t, prediction, t, abar, kind):
    return solved(x_t, prediction, t, abar, kind, 0)


def to_eps(x_t, prediction, t, abar, kind):
    return solved(x_t, prediction, t, abar, kind, 1)


def loss_weight(t, abar, kind, gamma=None):
    if kind not in ("v", *ROWS):
        raise ValueError(kind)
    abar = abar.to(torch.promote_types(abar.dtype, torch.float32))
    a = abar.take(t)
    if gamma is None:
        return a * 0 + 1
    if gamma != gamma or gamma <= 0:
        raise ValueError(gamma)
    if kind == "eps":
        return (gamma * (1 - a) / a).clip(max=1)  # infinite in pure noise, before the clip
    snr = a / (1 - a)
    smaller = torch.where(snr < gamma, snr, torch.full_like(snr, gamma))
    return smaller * (1 - a) if kind == "v" else smaller


def weighted_loss(prediction, target, weight):
    if list(prediction.shape) != list(target.shape) or list(weight.shape) != [prediction.shape[0]]:
        raise ValueError("shapes")
    wide = torch.promote_types(prediction.dtype, torch.float32)
    errors = (target.to(wide) - prediction.to(wide)).reshape(len(weight), -1)
    return torch.dot(weight.to(wide), (errors * errors).mean(dim=-1)) / len(weight)


def zero_terminal_snr(abar):
    steps = abar.shape[0]
    if steps < 2:
        raise ValueError("one step can't be both")
    roots = abar.double() ** 0.5
    out = roots.lerp(roots[:1], -(roots[-1] / (roots[0] - roots[-1])))  # past each root, away from the first
    out[-1] = 0
    return out.square().to(abar.dtype)
