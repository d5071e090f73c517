"""A loop over the taps of the kernel: each reads a grid of pixels, and gives one matrix product over the channels."""

import torch


def both(value):
    return tuple(value) if isinstance(value, tuple | list) else (value, value)


def prepared(x, weight, stride, padding):
    if x.dim() != 4 or weight.dim() != 4:
        raise ValueError("x and weight need 4 dimensions")
    if x.size(1) != weight.size(1):
        raise ValueError(f"{x.size(1)} input channels for a kernel of {weight.size(1)}")
    steps, edges = both(stride), both(padding)
    if any(s < 1 for s in steps) or any(p < 0 for p in edges):
        raise ValueError("stride or padding")
    sizes = []
    for axis in (0, 1):
        room = x.size(2 + axis) + 2 * edges[axis] - weight.size(2 + axis)
        if room < 0:
            raise ValueError("the kernel is too large")
        sizes.append(room // steps[axis] + 1)
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    batch, channels, height, width = x.shape
    canvas = torch.zeros(batch, channels, height + 2 * edges[0], width + 2 * edges[1], dtype=dtype, device=x.device)
    inside = canvas[:, :, edges[0] : edges[0] + height, edges[1] : edges[1] + width]
    inside.copy_(x)
    places = []
    for u in range(weight.size(2)):
        for v in range(weight.size(3)):
            rows = slice(u, u + steps[0] * (sizes[0] - 1) + 1, steps[0])
            cols = slice(v, v + steps[1] * (sizes[1] - 1) + 1, steps[1])
            places.append((u, v, (..., rows, cols)))
    return canvas, inside, sizes, places, dtype


def conv2d(x, weight, bias=None, stride=1, padding=0):
    canvas, _, (oh, ow), places, dtype = prepared(x, weight, stride, padding)
    if bias is not None and tuple(bias.shape) != (weight.size(0),):
        raise ValueError("bias")
    total = torch.zeros(x.size(0), weight.size(0), oh * ow, dtype=dtype, device=x.device)
    if bias is not None:
        total += bias.to(dtype).unsqueeze(1)
    for u, v, place in places:
        total += weight[:, :, u, v].to(dtype) @ canvas[place].flatten(2)
    return total.unflatten(2, (oh, ow)).to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    canvas, _, (oh, ow), places, dtype = prepared(x, weight, stride, padding)
    if tuple(grad.shape) != (x.size(0), weight.size(0), oh, ow):
        raise ValueError("grad")
    flat = grad.to(dtype).flatten(2)
    on_canvas, on_kernel = torch.zeros_like(canvas), torch.zeros_like(weight, dtype=dtype)
    for u, v, place in places:
        on_canvas[place] += (weight[:, :, u, v].to(dtype).t() @ flat).unflatten(2, (oh, ow))
        on_kernel[:, :, u, v] = (flat @ canvas[place].flatten(2).transpose(1, 2)).sum(0)
    ph, pw = both(padding)
    on_image = on_canvas.narrow(2, ph, x.size(2)).narrow(3, pw, x.size(3))
    return on_image.to(x.dtype), on_kernel.to(weight.dtype), flat.sum(2).sum(0).to(weight.dtype)
