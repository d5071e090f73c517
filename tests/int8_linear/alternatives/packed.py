"""torch's own kernels: quantize_per_channel rounds the codes, and _weight_int8pack_mm multiplies by them as they are."""

import warnings

import torch
from torch import nn

MAX_TERMS = 2**17


def quantize_per_row(x):
    if x.dim() != 2 or not torch.isfinite(x).all():
        raise ValueError("a finite matrix")
    x = x.detach().float().contiguous()
    scales = torch.linalg.vector_norm(x, float("inf"), dim=1) / 127
    scales[scales < 1.2e-38] = 1.0
    if not len(x):
        return x.to(torch.int8), scales
    # The division is by hand: its kernel multiplies by 1 / scale, which may be infinite.
    ones, zeros = torch.ones(len(x)).double(), torch.zeros(len(x), dtype=torch.int64)
    with warnings.catch_warnings(action="ignore"):
        return torch.quantize_per_channel(x / scales[:, None], ones, zeros, 0, torch.qint8).int_repr(), scales


def dequantize(codes, scales, dtype):
    return torch.mul(codes, scales[:, None], out=torch.empty(codes.shape, device=codes.device)).to(dtype)


def int8_matmul(a, b):
    if a.dim() != 2 or b.dim() != 2 or a.size(-1) != b.size(-1) or a.size(-1) >= 2**17 + 1:
        raise ValueError("no product of these")
    return torch._int_mm(a, b.mT)


class Int8Linear(nn.Module):
    def __init__(self, codes, scales, bias, *, dynamic):
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self.forward_tokens = type(self).quantised_tokens if dynamic else type(self).tokens_as_they_are

    @classmethod
    def from_linear(cls, linear, *, dynamic):
        linear = linear.requires_grad_(linear.weight.requires_grad)
        state = {name: value.detach() for name, value in linear.state_dict().items()}
        bias = state["bias"].clone() if "bias" in state else None
        return cls(*quantize_per_row(state["weight"]), bias, dynamic=dynamic)

    def tokens_as_they_are(self, x):
        x = x.contiguous()
        if x.dtype == torch.float32 and x.numel():
            return torch._weight_int8pack_mm(x, self.codes, self.scales)
        return x @ dequantize(self.codes, self.scales, x.dtype).T

    def quantised_tokens(self, x):
        codes, scales = quantize_per_row(x)
        return int8_matmul(codes, self.codes) * (scales[:, None] * self.scales)

    def forward(self, x):
        y = self.forward_tokens(self, x.reshape(-1, x.shape[-1]))
        if self.bias is not None:
            y = y + self.bias
        return y.to(x.dtype).unflatten(0, x.shape[:-1]) if x.dim() > 1 else y[0].to(x.dtype)

    def _apply(self, fn, recurse=True):
        bits = self.scales.view(torch.int32)  # integers are moved and never cast
        del self.scales
        super()._apply(fn, recurse)
        self.register_buffer("scales", fn(bits).view(torch.float32))
        return self
