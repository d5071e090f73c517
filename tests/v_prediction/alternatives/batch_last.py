"""The batch is moved to the last dimension, where a [batch] broadcasts by itself. Wide arithmetic for half-precision images,
exponents of logarithms for the weights, and a squared norm of the weighted errors for the loss."""

import torch

STEPS_MESSAGE = "t has to be [batch]"


def wider(x):
    return x if x.dtype == torch.float64 else x.float()


def combine(images, factors, t, abar):
    """The sum of the images, each times factors(abar) of its own step."""
    first = images[0]
    if any(image.shape != first.shape for image in images):
        raise ValueError("shapes differ")
    if t.ndim != 1 or t.numel() != first.shape[0]:
        raise ValueError(STEPS_MESSAGE)
    chosen = torch.index_select(wider(abar), 0, t)
    total = 0
    for image, factor in zip(images, factors(chosen), strict=True):
        if factor is not None:
            total = total + wider(image).movedim(0, -1) * factor.to(wider(image).dtype)
    return total.movedim(-1, 0).to(first.dtype)


def prediction_target(x0, noise, t, abar, kind):
    match kind:
        case "eps":
            return combine([x0, noise], lambda a: (None, torch.ones_like(a)), t, abar)
        case "x0":
            return combine([x0, noise], lambda a: (torch.ones_like(a), None), t, abar)
        case "v":
            return combine([x0, noise], lambda a: (-torch.sqrt(1 - a), torch.sqrt(a)), t, abar)
    raise ValueError(kind)


def to_x0(x_t, prediction, t, abar, kind):
    match kind:
        case "eps":
            return combine([x_t, prediction], lambda a: (a.rsqrt(), -((1 - a) / a).sqrt()), t, abar)
        case "x0":
            return combine([x_t, prediction], lambda a: (None, torch.ones_like(a)), t, abar)
        case "v":
            return combine([x_t, prediction], lambda a: (a.sqrt(), -(1 - a).sqrt()), t, abar)
    raise ValueError(kind)


def to_eps(x_t, prediction, t, abar, kind):
    match kind:
        case "eps":
            return combine([x_t, prediction], lambda a: (None, torch.ones_like(a)), t, abar)
        case "x0":
            return combine([x_t, prediction], lambda a: ((1 - a).rsqrt(), -(a / (1 - a)).sqrt()), t, abar)
        case "v":
            return combine([x_t, prediction], lambda a: ((1 - a).sqrt(), a.sqrt()), t, abar)
    raise ValueError(kind)


def loss_weight(t, abar, kind, gamma=None):
    factors = {"x0": lambda snr: torch.ones_like(snr), "eps": lambda snr: snr, "v": lambda snr: snr + 1}
    if kind not in factors:
        raise ValueError(kind)
    if gamma is not None and (gamma <= 0 or gamma != gamma):
        raise ValueError("gamma has to be positive")
    chosen = wider(abar)[t]
    if gamma is None:
        return torch.ones(chosen.shape, dtype=chosen.dtype, device=chosen.device)
    snr = chosen / (1 - chosen)
    weight = torch.minimum(snr, snr.new_tensor(gamma)) / factors[kind](snr)
    return torch.nan_to_num(weight, nan=1.0, posinf=float("inf"))  # only 0 / 0 is NaN


def weighted_loss(prediction, target, weight):
    if prediction.shape != target.shape:
        raise ValueError("shapes differ")
    if weight.shape != torch.Size([prediction.shape[0]]):
        raise ValueError("weight has to be [batch]")
    errors = (wider(prediction) - wider(target)).pow(2).movedim(0, -1)
    return (errors * weight.to(errors.dtype)).mean()


def zero_terminal_snr(abar):
    if abar.shape[0] in (0, 1):
        raise ValueError("two steps at least")
    root = wider(abar).sqrt()
    last, first = root[-1], root[0]
    # (root - last) / (first - last), squared, of the first abar; one product at a time
    return (((root - last) / (first - last)) ** 2 * wider(abar)[0]).to(abar.dtype)
