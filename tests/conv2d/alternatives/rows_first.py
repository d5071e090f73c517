"""Two steps: Tensor.unfold for the rows only, and then a loop along the width. The image's gradient is folded in the same order.

The padding is a concatenation with zeros."""

import torch


def conv2d(x, weight, bias=None, stride=1, padding=0):
    image, (sh, sw), _, (_, ow) = start(x, weight, stride, padding)
    outputs = len(weight)
    if not (bias is None or (bias.ndim == 1 and len(bias) == outputs)):
        raise ValueError("there must be one bias for each output channel")
    rows = image.unfold(2, weight.shape[2], sh)  # [batch, inputs, oh, width, kh]
    parts = [
        torch.einsum("ncywu,ocu->noyw", rows[:, :, :, v : v + (ow - 1) * sw + 1 : sw], upcast(weight[..., v]))
        for v in range(weight.shape[3])
    ]
    result = torch.stack(parts).sum(dim=0) if len(parts) < 3 else sum(parts[1:], parts[0])
    if bias is not None:
        result = result.add(upcast(bias).reshape(1, outputs, 1, 1))
    return result.to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    image, (sh, sw), (ph, pw), (oh, ow) = start(x, weight, stride, padding)
    if tuple(grad.shape) != (len(x), len(weight), oh, ow):
        raise ValueError("grad does not have the shape of the result")
    kh, kw = weight.shape[2:]
    rows, up = image.unfold(2, kh, sh), upcast(grad)
    columns = [slice(v, v + (ow - 1) * sw + 1, sw) for v in range(kw)]
    grad_weight = torch.stack([torch.einsum("noyw,ncywu->ocu", up, rows[:, :, :, c]) for c in columns], dim=-1)
    tall = torch.zeros(*x.shape[:2], oh, image.shape[3], kh, dtype=up.dtype, device=x.device)
    for v, c in enumerate(columns):
        tall[:, :, :, c] += torch.einsum("noyw,ocu->ncywu", up, upcast(weight[..., v]))
    whole = torch.zeros_like(image)
    for u in range(kh):
        whole[:, :, u : u + (oh - 1) * sh + 1 : sh] += tall[..., u]
    grad_x = whole[:, :, ph : whole.shape[2] - ph, pw : whole.shape[3] - pw]
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype), up.sum(-1).sum(-1).sum(0).to(weight.dtype)


def start(x, weight, stride, padding):
    if len(x.shape) != 4 or len(weight.shape) != 4 or x.shape[1] != weight.shape[1]:
        raise ValueError("x must be [batch, inputs, height, width], weight [outputs, inputs, kh, kw]")
    (sh, sw), (ph, pw) = ((n, n) if isinstance(n, int) else n for n in (stride, padding))
    if sh < 1 or sw < 1:
        raise ValueError("a window must move on")
    if ph < 0 or pw < 0:
        raise ValueError("padding cannot be negative")
    image = upcast(x)
    b, c, h, w = x.shape
    side = image.new_zeros((b, c, h, pw))
    image = torch.cat([side, image, side], dim=3)
    edge = image.new_zeros((b, c, ph, w + 2 * pw))
    image = torch.cat([edge, image, edge], dim=2)
    spare = image.shape[2] - weight.shape[2], image.shape[3] - weight.shape[3]
    if min(spare) < 0:
        raise ValueError("the kernel is larger than the image")
    return image, (sh, sw), (ph, pw), (spare[0] // sh + 1, spare[1] // sw + 1)


def upcast(tensor):
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
