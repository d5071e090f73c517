"""float64 inside, one plain matrix [batch oh ow, inputs kh kw], as in a linear layer; the fold back is a scatter over all pixels of
all images at once."""

import torch


def lookup(x, weight, stride, padding):
    """For each number of the matrix its index in the flattened x, or x.numel() where it lies in the padding."""
    pair = [(n, n) if isinstance(n, int) else tuple(n) for n in (stride, padding)]
    problem = None
    if x.ndim != 4:
        problem = "x needs 4 dimensions"
    elif weight.ndim != 4 or weight.shape[1] != x.shape[1]:
        problem = "weight does not fit x"
    elif min(pair[0]) < 1:
        problem = "stride"
    elif min(pair[1]) < 0:
        problem = "padding"
    elif any(n + 2 * p < k for n, p, k in zip(x.shape[2:], pair[1], weight.shape[2:], strict=True)):
        problem = "kernel"
    if problem:
        raise ValueError(problem)
    places, inside = [], []
    for n, k, s, p in zip(x.shape[2:], weight.shape[2:], *pair, strict=True):
        place = torch.arange((n + 2 * p - k) // s + 1)[:, None] * s + torch.arange(k) - p
        places.append(place.clamp(0, n - 1))
        inside.append((place >= 0) & (place < n))
    (b, c, h, w), (rows, cols) = x.shape, places
    plane = torch.arange(b * c).view(b, 1, 1, c, 1, 1) * (h * w)
    index = plane + rows[:, None, None, :, None] * w + cols[:, None, None, :]
    real = inside[0][:, None, None, :, None] & inside[1][:, None, None, :]
    return torch.where(real, index, b * c * h * w).flatten(3).flatten(0, 2).to(x.device), (len(rows), len(cols))


def matrix(x, index):
    return torch.cat([x.double().reshape(-1), torch.zeros(1, dtype=torch.double, device=x.device)])[index]


def conv2d(x, weight, bias=None, stride=1, padding=0):
    index, (oh, ow) = lookup(x, weight, stride, padding)
    if bias is not None and tuple(bias.shape) != tuple(weight.shape[:1]):
        raise ValueError("bias")
    offset = 0 if bias is None else bias.double()
    out = matrix(x, index) @ weight.double().flatten(1).T + offset
    return out.reshape(x.shape[0], oh, ow, weight.shape[0]).permute(0, 3, 1, 2).to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    index, (oh, ow) = lookup(x, weight, stride, padding)
    if tuple(grad.shape) != (x.shape[0], weight.shape[0], oh, ow):
        raise ValueError("grad")
    g = grad.double().permute(0, 2, 3, 1).reshape(len(index), weight.shape[0])
    pixels = torch.zeros(
        x.numel() + 1, dtype=torch.double, device=x.device
    )  # the last collects what falls on the padding
    pixels.scatter_add_(0, index.reshape(-1), (g @ weight.double().flatten(1)).reshape(-1))
    return (
        pixels[:-1].reshape(x.shape).to(x.dtype),
        (g.T @ matrix(x, index)).reshape(weight.shape).to(weight.dtype),
        g.sum(dim=0).to(weight.dtype),
    )
