"""A function of one sample with coefficients that are numbers, and vmap over the batch. Weights from the inverse of the snr."""

import torch


def pair(x_t, prediction, signal, spread, kind, wanted):
    """x0 or the noise of one sample, from 0-d coefficients."""
    if kind == "v":
        return (
            torch.add(signal * x_t, spread * prediction, alpha=-1)
            if wanted == "x0"
            else signal * prediction + spread * x_t
        )
    mine, others = (signal, spread) if wanted == "x0" else (spread, signal)
    return torch.sub(x_t, others * prediction) / mine


def each(function, one, two, t, abar):
    if one.shape != two.shape or len(t.shape) != 1 or t.shape[0] != one.shape[0]:
        raise ValueError("wrong shapes")
    chosen = abar[t]
    roots = [value.sqrt().to(one.dtype) for value in (chosen, 1 - chosen)]
    return torch.vmap(function)(one, two, *roots)


def require(kind):
    if not isinstance(kind, str) or kind not in ("eps", "x0", "v"):
        raise ValueError(f"what is {kind}?")


def prediction_target(x0, noise, t, abar, kind):
    require(kind)

    def of_one(data, dark, signal, spread):
        if kind == "v":
            return torch.addcmul(signal * dark, spread, data, value=-1)
        return dark * 1 if kind == "eps" else data * 1

    return each(of_one, x0, noise, t, abar)


def to_x0(x_t, prediction, t, abar, kind):
    require(kind)
    if kind == "x0":
        each(lambda a, b, c, d: a, x_t, prediction, t, abar)
        return prediction
    return each(lambda x, p, a, s: pair(x, p, a, s, kind, "x0"), x_t, prediction, t, abar)


def to_eps(x_t, prediction, t, abar, kind):
    require(kind)
    if kind == "eps":
        each(lambda a, b, c, d: a, x_t, prediction, t, abar)
        return prediction
    return each(lambda x, p, a, s: pair(x, p, a, s, kind, "eps"), x_t, prediction, t, abar)


def loss_weight(t, abar, kind, gamma=None):
    require(kind)
    if gamma is None:
        kept = torch.float64 if abar.dtype is torch.float64 else torch.float32
        return torch.ones(t.shape, dtype=kept, device=abar.device)
    if not float(gamma) > 0.0:
        raise ValueError("positive, please")
    a = abar[t]
    a = a if a.dtype is torch.float64 else a.to(torch.float32)
    odds = (1 - a) / a  # 1 / snr, infinite in pure noise
    of_eps = torch.clamp(gamma * odds, max=1.0)
    if kind == "eps":
        return of_eps
    return of_eps / odds if kind == "x0" else of_eps * a


def weighted_loss(prediction, target, weight):
    if prediction.shape != target.shape or weight.ndim != 1 or weight.numel() != prediction.shape[0]:
        raise ValueError("wrong shapes")
    kept = torch.float64 if prediction.dtype is torch.float64 else torch.float32
    total = torch.zeros((), dtype=kept, device=prediction.device)
    errors = prediction.to(kept) - target.to(kept)
    errors = errors.unsqueeze(-1).flatten(1)  # [batch, n], n = 1 for scalars
    squares = torch.einsum("bn,bn->b", errors, errors)
    return total + torch.einsum("b,b->", weight.to(kept), squares) / errors.numel()


def zero_terminal_snr(abar):
    if not len(abar) > 1:
        raise ValueError("two steps")
    signal = abar.to(torch.float64).sqrt()
    line = torch.stack([signal - signal[-1], torch.zeros_like(signal)]).amax(0)
    return torch.pow(line * signal[0] / line[0], 2).to(abar.dtype)
