"""In Hugging Face's manner: cosines for all channels, and x with its pairs exchanged; products in the dtype of x."""

import torch


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    if dim % 2 or dim < 2:
        raise ValueError(f"dim {dim}")
    if base <= 0 or factor < 1:
        raise ValueError("base or factor")
    match scaling:
        case "none" | "linear":
            pass
        case "ntk":
            base = base * factor ** (dim / (dim - 2)) if dim > 2 else base
        case _:
            raise ValueError(scaling)
    inverse = 1.0 / (base ** (torch.arange(0, dim, 2).to(torch.float64) / dim))
    if scaling == "linear":
        inverse /= factor
    return inverse


def rotate(x, positions, frequencies, *, interleaved):
    width = 2 * frequencies.shape[0]
    if width > x.shape[-1]:
        raise ValueError("width")
    angles = positions.unsqueeze(-1).float() * frequencies.float()
    if interleaved:
        cos, sin = (f(angles).repeat_interleave(2, dim=-1).to(x.dtype) for f in (torch.cos, torch.sin))
    else:
        cos, sin = (torch.cat([f(angles)] * 2, dim=-1).to(x.dtype) for f in (torch.cos, torch.sin))
    turning, passing = x.split([width, x.shape[-1] - width], dim=-1)
    if interleaved:
        partner = torch.stack([-turning[..., 1::2], turning[..., ::2]], dim=-1).reshape(turning.shape)
    else:
        one, two = turning.tensor_split([width // 2], dim=-1)
        partner = torch.cat([-two, one], dim=-1)
    return torch.cat([turning * cos + partner * sin, passing], dim=-1)


def to_half_split(weight, heads):
    size = check(weight, heads)
    tail = weight.shape[1:]
    return weight.view(heads, size // 2, 2, *tail).transpose(1, 2).reshape(heads * size, *tail)


def to_interleaved(weight, heads):
    size = check(weight, heads)
    tail = weight.shape[1:]
    return weight.view(heads, 2, size // 2, *tail).transpose(1, 2).reshape(heads * size, *tail)


def check(weight, heads):
    if heads < 1 or weight.shape[0] % heads or (weight.shape[0] // heads) % 2:
        raise ValueError("heads")
    return weight.shape[0] // heads
