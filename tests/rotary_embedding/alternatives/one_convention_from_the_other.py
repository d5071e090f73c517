"""Half-split is written once; interleaved channels are brought into its order and back."""

import math

import torch


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    if dim not in range(2, 2**20, 2):
        raise ValueError("dim")
    if not (base > 0 and factor >= 1):
        raise ValueError("base and factor")
    scale = {"none": lambda i: 1.0, "linear": lambda i: factor, "ntk": lambda i: factor ** (i / max(dim // 2 - 1, 1))}
    if scaling not in scale:
        raise ValueError("scaling")
    log_base = math.log(base)
    values = [math.exp(-2 * i / dim * log_base) / scale[scaling](i) for i in range(dim // 2)]
    return torch.tensor(values, dtype=torch.float64)


def rotate(x, positions, frequencies, *, interleaved):
    half = frequencies.size(0)
    if x.size(-1) < 2 * half:
        raise ValueError("half")
    order = torch.arange(2 * half)
    if interleaved:
        order = order.reshape(half, 2).T.reshape(-1) if half else order
    out = x.clone()
    angle = positions[..., None].double() * frequencies.double()
    cos, sin = angle.cos().to(dtype=max_dtype(x)), angle.sin().to(dtype=max_dtype(x))
    ordered = x[..., order].to(max_dtype(x))
    first, second = ordered[..., :half], ordered[..., half:]
    turned = torch.cat([torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(first * sin, second, cos)], -1)
    out[..., order] = turned.to(x.dtype)
    return out


def max_dtype(x):
    return torch.float64 if x.dtype is torch.float64 else torch.float32


def to_half_split(weight, heads):
    return torch.cat([part[rows] for part in parts(weight, heads) for rows in (slice(0, None, 2), slice(1, None, 2))])


def to_interleaved(weight, heads):
    out = []
    for part in parts(weight, heads):
        first, second = part.chunk(2)
        for one, two in zip(first, second, strict=True):
            out += [one, two]
    return torch.stack(out)


def parts(weight, heads):
    if heads <= 0 or len(weight) % heads or len(weight) // heads % 2:
        raise ValueError("rows")
    return weight.split(len(weight) // heads)
