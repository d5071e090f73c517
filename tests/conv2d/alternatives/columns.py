"""im2col by indices: a table of the pixel that each place of each window reads. Backward, index_add_ follows the same table."""

import torch
from torch.nn import functional as F


def refuse(*wrong):
    if any(wrong):
        raise ValueError("arguments")


def table(x, weight, stride, padding):
    """[kh * kw, oh * ow] indices into a flattened padded image, and the sizes."""
    refuse(x.ndim != 4, weight.ndim != 4)
    sh, sw = (stride, stride) if isinstance(stride, int) else stride
    ph, pw = (padding, padding) if isinstance(padding, int) else padding
    (kh, kw), tall, broad = weight.shape[2:], x.shape[2] + 2 * ph, x.shape[3] + 2 * pw
    refuse(x.shape[1] != weight.shape[1], sh <= 0, sw <= 0, ph < 0, pw < 0, tall < kh, broad < kw)
    tops = torch.arange(0, tall - kh + 1, sh, device=x.device)
    lefts = torch.arange(0, broad - kw + 1, sw, device=x.device)
    down = torch.arange(kh, device=x.device)[:, None] + tops
    right = torch.arange(kw, device=x.device)[:, None] + lefts
    index = down[:, None, :, None] * broad + right[None, :, None, :]
    return index.reshape(kh * kw, -1), (ph, pw), (tall, broad), (len(tops), len(lefts))


def wide(t):
    return t if t.dtype == torch.float64 else t.float()


def im2col(x, index, pads):
    flat = F.pad(wide(x), (pads[1], pads[1], pads[0], pads[0])).flatten(2)
    return flat[:, :, index].reshape(x.shape[0], x.shape[1] * index.shape[0], index.shape[1])


def conv2d(x, weight, bias=None, stride=1, padding=0):
    index, pads, _, size = table(x, weight, stride, padding)
    refuse(bias is not None and bias.shape != (weight.shape[0],))
    y = wide(weight).flatten(1).matmul(im2col(x, index, pads))
    y = y if bias is None else y + wide(bias).reshape(-1, 1)
    return y.reshape(*y.shape[:2], *size).to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    index, (ph, pw), padded, size = table(x, weight, stride, padding)
    refuse(grad.shape != (x.shape[0], weight.shape[0], *size))
    dy, w = wide(grad).flatten(2), wide(weight).flatten(1)
    dw = torch.einsum("bop,bkp->ok", dy, im2col(x, index, (ph, pw))).reshape(weight.shape)
    dcol = torch.einsum("ok,bop->bkp", w, dy).reshape(x.shape[0], x.shape[1], index.numel())
    dx = torch.zeros(*x.shape[:2], padded[0] * padded[1], dtype=dy.dtype, device=x.device)
    dx.index_add_(2, index.reshape(-1), dcol)
    dx = dx.reshape(*x.shape[:2], *padded)[:, :, ph : ph + x.shape[2], pw : pw + x.shape[3]]
    return dx.to(x.dtype), dw.to(weight.dtype), dy.sum((0, 2)).to(weight.dtype)
