"""As libraries have it: tables of roots for the whole schedule, trailing dimensions added one by one, snr as the square of a
ratio, the smaller one of a stack."""

import torch
import torch.nn.functional as F


def lookup(table, t, image):
    values = table[t].flatten()
    while values.dim() < image.dim():
        values = values.unsqueeze(-1)
    return values.to(image.dtype)


def validate(first, second, t, kind):
    if kind not in ["v", "eps", "x0"]:
        raise ValueError(f"unknown prediction type {kind}")
    if first.size() != second.size() or t.size() != first.size()[:1]:
        raise ValueError("sizes do not match")


def prediction_target(x0, noise, t, abar, kind):
    validate(x0, noise, t, kind)
    if kind == "eps":
        return noise
    elif kind == "x0":
        return x0
    else:
        return lookup(abar**0.5, t, x0) * noise - lookup((1 - abar) ** 0.5, t, x0) * x0


def to_x0(x_t, prediction, t, abar, kind):
    validate(x_t, prediction, t, kind)
    alpha, sigma = lookup(abar**0.5, t, x_t), lookup((1 - abar) ** 0.5, t, x_t)
    if kind == "eps":
        return (x_t - sigma * prediction) / alpha
    elif kind == "x0":
        return prediction
    else:
        return alpha * x_t - sigma * prediction


def to_eps(x_t, prediction, t, abar, kind):
    validate(x_t, prediction, t, kind)
    alpha, sigma = lookup(abar**0.5, t, x_t), lookup((1 - abar) ** 0.5, t, x_t)
    if kind == "eps":
        return prediction
    elif kind == "x0":
        return (x_t - alpha * prediction) / sigma
    else:
        return alpha * prediction + sigma * x_t


def compute_snr(t, abar):
    wide = abar.to(torch.promote_types(abar.dtype, torch.float32))
    return ((wide**0.5)[t] / ((1 - wide) ** 0.5)[t]) ** 2


def loss_weight(t, abar, kind, gamma=None):
    if kind not in ["v", "eps", "x0"]:
        raise ValueError(f"unknown prediction type {kind}")
    snr = compute_snr(t, abar)
    if gamma is None:
        return torch.ones_like(snr)
    if not gamma > 0:
        raise ValueError("gamma must be positive")
    smaller = torch.stack([snr, gamma * torch.ones_like(snr)], dim=1).min(dim=1)[0]
    if kind == "eps":
        weight = smaller / snr
        weight[snr == 0] = 1.0
        return weight
    return smaller / (snr + 1) if kind == "v" else smaller


def weighted_loss(prediction, target, weight):
    if prediction.shape != target.shape:
        raise ValueError("prediction and target")
    if weight.shape != prediction.shape[:1]:
        raise ValueError("weight")
    wide = torch.promote_types(prediction.dtype, torch.float32)
    loss = F.mse_loss(prediction.to(wide), target.to(wide), reduction="none")
    if loss.dim() > 1:
        loss = loss.mean(dim=list(range(1, loss.dim())))
    return (loss * weight.to(wide)).mean()


def zero_terminal_snr(abar):
    if len(abar) < 2:
        raise ValueError("at least two steps")
    roots = abar.to(torch.promote_types(abar.dtype, torch.float32)).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    roots -= last
    roots *= first / (first - last)
    return (roots**2).to(abar.dtype)
