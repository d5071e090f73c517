"""On the circle: (x_t, v) is (x0, noise), turned by an angle whose cosine is sqrt(abar). Images are combined in float64 and
rounded once. Weights without snr: 1 / (snr + 1) is 1 - abar, so that of v is min(abar, gamma (1 - abar))."""

import torch

KINDS = {"eps", "x0", "v"}


def turn(along, across, t, abar, sign):
    """The sum of both images, times the cosine and sign x the sine of the angle of each step."""
    if along.shape != across.shape or t.dim() != 1 or len(t) != len(along):
        raise ValueError("images of one shape, and a step for each element")
    wide = abar.double().index_select(0, t)
    cosine = torch.einsum("b,b...->b...", wide.sqrt(), along.double())
    sine = torch.einsum("b,b...->b...", (1 - wide).sqrt(), across.double())
    return (cosine + sign * sine).to(along.dtype)


def known(kind):
    if kind not in KINDS:
        raise ValueError(f"no such kind: {kind}")


def prediction_target(x0, noise, t, abar, kind):
    known(kind)
    return {"eps": noise.clone(), "x0": x0.clone(), "v": turn(noise, x0, t, abar, -1)}[kind]


def to_x0(x_t, prediction, t, abar, kind):
    known(kind)
    out = turn(x_t, prediction, t, abar, -1)
    if kind == "v":
        return out
    if kind == "x0":
        return prediction.clone()
    # x_t = cos x0 + sin noise: what is left of x_t without the noise, divided by the cosine
    cosine = abar.double()[t].sqrt().view(-1, *[1] * (x_t.dim() - 1))
    sine = (1 - abar.double()[t]).sqrt().view_as(cosine)
    return ((x_t.double() - sine * prediction.double()) / cosine).to(x_t.dtype)


def to_eps(x_t, prediction, t, abar, kind):
    known(kind)
    out = turn(prediction, x_t, t, abar, +1)
    if kind == "v":
        return out
    if kind == "eps":
        return prediction.clone()
    cosine = abar.double()[t].sqrt().view(-1, *[1] * (x_t.dim() - 1))
    sine = (1 - abar.double()[t]).sqrt().view_as(cosine)
    return (x_t.double() / sine - cosine / sine * prediction.double()).to(x_t.dtype)


def loss_weight(t, abar, kind, gamma=None):
    known(kind)
    wide = abar if abar.dtype in (torch.float32, torch.float64) else abar.float()
    signal = wide.gather(0, t)
    if gamma is None:
        return signal.new_ones(signal.shape)
    if gamma > 0:
        of_v = torch.minimum(signal, gamma * (1 - signal))
        if kind == "v":
            return of_v
        if kind == "x0":
            return of_v / (1 - signal)
        return torch.where(signal == 0, torch.ones_like(signal), of_v / signal)
    raise ValueError("gamma")


def weighted_loss(prediction, target, weight):
    if prediction.shape != target.shape:
        raise ValueError("one shape")
    if weight.dim() != 1 or len(weight) != len(prediction):
        raise ValueError("one weight for each sample")
    wide = torch.double if prediction.dtype == torch.double else torch.float
    errors = prediction.to(wide).flatten() - target.to(wide).flatten()
    spread = weight.to(wide).repeat_interleave(prediction[0].numel())
    return (errors * errors) @ spread / errors.numel()


def zero_terminal_snr(abar):
    if abar.numel() <= 1:
        raise ValueError("too short")
    roots = abar.double().sqrt()
    share = (roots - roots[-1]) / (roots[0] - roots[-1])  # 1 at the first step, 0 at the last
    return (abar[0].double() * share**2).to(abar.dtype)
