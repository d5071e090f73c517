"""Overlapping windows by as_strided, channels last, and tensordot. Backward writes through the same strides, row of the kernel by row."""

import torch


def wider(tensor):
    return tensor.double() if tensor.dtype == torch.float64 else tensor.to(torch.float32)


class Plan:
    def __init__(self, x, weight, stride, padding):
        if not (x.ndim == weight.ndim == 4 and x.shape[1] == weight.shape[1]):
            raise ValueError(f"x {tuple(x.shape)}, weight {tuple(weight.shape)}")
        self.stride = stride if isinstance(stride, tuple) else (stride,) * 2
        self.padding = padding if isinstance(padding, tuple) else (padding,) * 2
        if not (self.stride[0] > 0 and self.stride[1] > 0 and self.padding[0] >= 0 and self.padding[1] >= 0):
            raise ValueError(f"stride {stride}, padding {padding}")
        self.image, self.kernel = x.shape[2:], weight.shape[2:]
        self.padded = [size + 2 * pad for size, pad in zip(self.image, self.padding, strict=True)]
        self.out = [(n - k) // s + 1 for n, k, s in zip(self.padded, self.kernel, self.stride, strict=True)]
        if self.padded[0] < self.kernel[0] or self.padded[1] < self.kernel[1]:
            raise ValueError(f"kernel {tuple(self.kernel)} over {self.padded}")

    def windows(self, x):
        """[batch, oh, ow, kh, kw, inputs] over a padded copy of x."""
        (ph, pw), (h, w) = self.padding, self.image
        copy = wider(x).new_zeros(x.shape[0], *self.padded, x.shape[1])
        copy[:, ph : ph + h, pw : pw + w] = x.movedim(1, -1)
        b, r, c, d = copy.stride()
        strides = (b, r * self.stride[0], c * self.stride[1], r, c, d)
        return copy.as_strided((x.shape[0], *self.out, *self.kernel, x.shape[1]), strides)


def conv2d(x, weight, bias=None, stride=1, padding=0):
    plan = Plan(x, weight, stride, padding)
    kernels = wider(weight).permute(2, 3, 1, 0)
    result = torch.tensordot(plan.windows(x), kernels, dims=3)
    if bias is not None:
        if list(bias.shape) != [kernels.shape[-1]]:
            raise ValueError(f"bias {tuple(bias.shape)}")
        result = result + wider(bias)
    return result.movedim(-1, 1).to(dtype=x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    plan = Plan(x, weight, stride, padding)
    if list(grad.shape) != [x.shape[0], weight.shape[0], *plan.out]:
        raise ValueError(f"grad {tuple(grad.shape)}")
    last = wider(grad).movedim(1, -1)
    kernels = torch.tensordot(last, plan.windows(x), dims=([0, 1, 2], [0, 1, 2]))  # [outputs, kh, kw, inputs]
    pixels = last.new_zeros(x.shape[0], *plan.padded, x.shape[1])
    (sh, sw), (oh, ow) = plan.stride, plan.out
    for u in range(plan.kernel[0]):
        row = torch.tensordot(last, wider(weight)[:, :, u], dims=1)  # [batch, oh, ow, inputs, kw]
        for v in range(plan.kernel[1]):
            view = pixels[:, u:][:, ::sh][:, :oh, v:][:, :, ::sw][:, :, :ow]
            view.add_(row[..., v])
    top, left = plan.padding
    image = pixels[:, top:, left:][:, : plan.image[0], : plan.image[1]].movedim(-1, 1)
    return image.to(x.dtype), kernels.movedim(-1, 1).to(weight.dtype), last.flatten(0, 2).sum(0).to(weight.dtype)
