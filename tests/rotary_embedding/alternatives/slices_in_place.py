"""An empty result, whose slices are filled one after the other."""

import torch

SCALINGS = ("none", "linear", "ntk")


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    if dim < 2 or dim & 1:
        raise ValueError("even dims only")
    if base <= 0:
        raise ValueError("positive bases only")
    if factor < 1 or scaling not in SCALINGS:
        raise ValueError("scaling")
    exponents = -torch.linspace(0, 1 - 2 / dim, dim // 2, dtype=torch.float64)
    result = torch.pow(torch.tensor(base, dtype=torch.float64), exponents)
    if scaling == "ntk":
        result = result * torch.logspace(0, -1, dim // 2, base=factor, dtype=torch.float64)
    elif scaling == "linear":
        result = result.div(factor)
    return result


def rotate(x, positions, frequencies, *, interleaved):
    pairs = frequencies.shape[-1]
    if pairs > x.shape[-1] / 2:
        raise ValueError("more pairs than channels")
    one = (..., slice(0, 2 * pairs, 2)) if interleaved else (..., slice(0, pairs))
    two = (..., slice(1, 2 * pairs, 2)) if interleaved else (..., slice(pairs, 2 * pairs))
    angles = positions.to(torch.float64).unsqueeze(-1).mul(frequencies.to(torch.float64))
    c, s = torch.cos(angles), torch.sin(angles)
    result = torch.empty_like(x)
    result[..., 2 * pairs :] = x[..., 2 * pairs :]
    kind = torch.result_type(x, torch.ones((), dtype=torch.float64)) if x.dtype == torch.float64 else torch.float32
    c, s = c.to(kind), s.to(kind)
    result[one] = (x[one] * c - x[two] * s).to(x.dtype)
    result[two] = (x[one] * s + x[two] * c).to(x.dtype)
    return result


def to_half_split(weight, heads):
    size = rows(weight, heads)
    result = torch.empty_like(weight)
    for head in range(heads):
        begin = head * size
        result[begin : begin + size // 2] = weight[begin : begin + size : 2]
        result[begin + size // 2 : begin + size] = weight[begin + 1 : begin + size : 2]
    return result


def to_interleaved(weight, heads):
    size = rows(weight, heads)
    result = torch.empty_like(weight)
    for head in range(heads):
        begin = head * size
        result[begin : begin + size : 2] = weight[begin : begin + size // 2]
        result[begin + 1 : begin + size : 2] = weight[begin + size // 2 : begin + size]
    return result


def rows(weight, heads):
    total = weight.shape[0]
    if heads < 1 or total % (heads * 2) != 0:
        raise ValueError(f"{total} rows, {heads} heads")
    return total // heads
