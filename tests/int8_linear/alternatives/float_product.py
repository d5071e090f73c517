"""Weight-only by a product with the codes in float32, scaled afterwards; NaN is found by a sum; scales clamped from below
at the smallest normal number."""

import torch
import torch.nn.functional as F

MAX_TERMS = 2**17
TINY = torch.finfo(torch.float32).smallest_normal


def quantize_per_row(x):
    if len(x.shape) != 2:
        raise ValueError(f"2 dimensions, not {len(x.shape)}")
    if (~torch.isfinite(x)).any():
        raise ValueError("infinite")
    x = x.float()
    low, high = torch.aminmax(x, dim=1)
    scales = torch.maximum(-low, high).div(127).clamp(min=TINY)
    return torch.div(x, scales.unsqueeze(-1)).round_().to(dtype=torch.int8), scales


def dequantize(codes, scales, dtype):
    out = codes.to(torch.float32)
    out.mul_(scales.reshape(-1, 1))
    return out.to(dtype)


def int8_matmul(a, b):
    if a.dim() != 2 or b.dim() != 2:
        raise ValueError("2-d")
    (m, k), (n, other) = a.shape, b.shape
    if k != other or k > 131072:
        raise ValueError(f"k is {k} and {other}")
    out = torch.empty(m, n, dtype=torch.int32, device=a.device)
    for start in range(0, n, 256):  # a part of the outputs at a time
        out[:, start : start + 256] = torch._int_mm(a, b[start : start + 256].T)
    return out


class Int8Linear(torch.nn.Module):
    def __init__(self, codes, scales, bias, *, dynamic=False):
        torch.nn.Module.__init__(self)
        self.register_buffer("codes", codes.clone())
        self.register_buffer("scales", scales.clone())
        self.register_buffer("bias", bias.clone() if bias is not None else None)
        self.kind = "W8A8" if dynamic else "W8A16"

    @classmethod
    def from_linear(cls, linear, *, dynamic):
        with torch.no_grad():
            return cls(*quantize_per_row(linear.weight), linear.bias, dynamic=dynamic)

    def forward(self, x):
        if self.kind == "W8A16":
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            y = F.linear(wide, self.codes.to(wide.dtype)) * self.scales
        else:
            codes, scales = quantize_per_row(x.reshape(-1, x.size(-1)))
            y = int8_matmul(codes, self.codes).to(torch.float32)
            y = y.mul_(scales[:, None]).mul_(self.scales[None]).reshape(*x.size()[:-1], self.codes.size(0))
        return (y if self.bias is None else y + self.bias.to(y.dtype)).to(x.dtype)

    def _apply(self, fn, recurse=True):
        def kept(tensor):
            moved = fn(tensor)
            return tensor.to(moved.device) if tensor is held and moved.dtype != tensor.dtype else moved

        held = self.scales
        return super()._apply(kept, recurse)
