"""A 2 x 2 matrix for each token and pair, made once for all heads; frequencies in numpy."""

import numpy as np
import torch


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    if dim % 2 != 0 or dim <= 0 or base <= 0 or factor < 1:
        raise ValueError("dim, base or factor")
    i = np.arange(dim // 2)
    if scaling == "none":
        f = np.power(float(base), -2 * i / dim)
    elif scaling == "linear":
        f = np.power(float(base), -2 * i / dim) / factor
    elif scaling == "ntk":
        f = np.power(base * factor ** (dim / (dim - 2)) if dim > 2 else float(base), -2 * i / dim)
    else:
        raise ValueError("scaling")
    return torch.from_numpy(f)


def rotate(x, positions, frequencies, *, interleaved):
    half = len(frequencies)
    if half > x.shape[-1] // 2:
        raise ValueError("too many")
    theta = positions.to(torch.float32)[..., None] * frequencies.to(torch.float32)
    matrix = torch.stack([theta.cos(), -theta.sin(), theta.sin(), theta.cos()]).to(x.dtype)
    head = x[..., : 2 * half]
    a, b = (head[..., 0::2], head[..., 1::2]) if interleaved else (head[..., :half], head[..., half:])
    first = matrix[0] * a + matrix[1] * b
    second = matrix[2] * a + matrix[3] * b
    if interleaved:
        turned = torch.stack((first, second), dim=-1).reshape(head.shape)
    else:
        turned = torch.concatenate((first, second), dim=-1)
    return torch.concatenate((turned, x[..., 2 * half :]), dim=-1)


def permuted(weight, heads, back):
    if heads < 1 or weight.shape[0] % heads:
        raise ValueError("heads")
    size = weight.shape[0] // heads
    if size % 2:
        raise ValueError("odd heads")
    index = np.arange(weight.shape[0]).reshape(heads, size)
    index = np.concatenate([index[:, 0::2], index[:, 1::2]], axis=1).reshape(-1)
    if back:
        index = np.argsort(index)
    return weight.index_select(0, torch.as_tensor(index))


def to_half_split(weight, heads):
    return permuted(weight, heads, back=False)


def to_interleaved(weight, heads):
    return permuted(weight, heads, back=True)
