"""A pair is a complex number, and turning is multiplying by exp(i angle)."""

import torch


def inverse_frequencies(dim, base=10000.0, *, scaling="none", factor=1.0):
    if dim <= 0 or dim % 2 == 1 or not base > 0 or not factor >= 1 or scaling not in {"none", "linear", "ntk"}:
        raise ValueError("arguments")
    steps = torch.arange(dim // 2).double() * 2 / dim
    if scaling == "ntk":  # factor^(dim / (dim - 2)) to the power 2 i / dim is factor^(2 i / (dim - 2))
        steps_of_factor = torch.arange(dim // 2).double() * 2 / max(dim - 2, 1)
        return 1 / (base**steps * factor**steps_of_factor)
    return 1 / (base**steps * (factor if scaling == "linear" else 1))


def rotate(x, positions, frequencies, *, interleaved):
    half = frequencies.numel()
    if half * 2 > x.size(-1):
        raise ValueError("too many frequencies")
    angles = torch.einsum("...n, h -> ...nh", positions.double(), frequencies.double())
    phases = torch.polar(torch.ones_like(angles), angles)
    kind = torch.float64 if x.dtype == torch.float64 else torch.float32
    turning = x[..., : 2 * half].to(kind)
    shape = (half, 2) if interleaved else (2, half)
    points = turning.unflatten(-1, shape)
    if not interleaved:
        points = points.transpose(-1, -2)
    points = torch.view_as_complex(points.contiguous()) * phases.to(
        torch.complex128 if kind == torch.float64 else torch.complex64
    )
    points = torch.view_as_real(points)
    if not interleaved:
        points = points.transpose(-1, -2)
    return torch.cat((points.flatten(-2).to(x.dtype), x[..., 2 * half :]), -1)


def to_half_split(weight, heads):
    order = _order(weight, heads)
    return weight[order]


def to_interleaved(weight, heads):
    order = _order(weight, heads)
    return weight[order.argsort()]


def _order(weight, heads):
    rows = weight.shape[0]
    if heads <= 0 or rows % heads or rows // heads % 2:
        raise ValueError("heads")
    one = torch.arange(rows // heads)
    one = torch.cat((one[::2], one[1::2]))
    return (one + torch.arange(heads)[:, None] * (rows // heads)).reshape(-1)
