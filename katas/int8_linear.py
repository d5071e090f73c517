"""INT8 quantisation of a linear layer.

Quantise a linear layer to int8, weight-only and with dynamic activations. What is stored, what is the error, and where
does it get faster?

A row of numbers becomes one scale and integers in [-127, 127]:
    scale = max|row| / 127,    code = row / scale, rounded (half to even),    row ~ scale * code
This is symmetric quantisation: zero is the code 0, there is no zero point, and -128 is not used. A row of weight [out,
in] belongs to one output, so its scale leaves the sum. So does that of a token, a row of x:
    weight-only:  y = x (scales * codes)^T + bias
    dynamic:      y = scales_x * scales_w * (codes_x codes_w^T) + bias,    the product in integers, exactly

Every scale is as it says: no eps is added, and none is a lower limit. A row of zeros gets codes 0 and the scale 1 (any
other finite scale is right, too). So may a row whose largest absolute value is below 2e-36, where float32 ends. All
others are finite in float32, and have at least one number; a layer has two inputs or more.

Rules: all of torch may be used. `*batch` is any number of leading dimensions (also none, and none of a size is too
small: an empty batch gives an empty result). float16, bfloat16, float32 and float64, contiguous or not. No argument is
modified. Whether a gradient reaches x is up to you.

Stage 1: quantise and back, the integer product, the layer.  Stage 2: rows of zeros, any leading dimensions, each token
for itself, state dict, wrong arguments.  Stage 3: every dtype, outliers, exact sums, a layer that is cast.  Stage 4:
bytes: the layer holds its buffers and nothing else, also after a call; a dynamic forward of [4, 1024] to 512 moves at
most 2.5 times the bytes of the codes, x and y included (torch._int_mm(a, b.T) multiplies int8 as it is and returns
int32), and a weight-only one allocates at most 10 bytes for each weight; no loop over rows.

Source: Dettmers et al., "LLM.int8(): 8-bit Matrix Multiplication for Transformers at Scale" (2022).
"""

from collections.abc import Callable
from typing import Self

import torch
from jaxtyping import Float, Float32, Int8, Int32
from torch import Tensor, nn
from torch.nn import functional as F

MAX_TERMS = 2**17  # 127 * 127 * 2^17 is below 2^31; 2^18 would not be


def quantize_per_row(x: Float[Tensor, "rows n"]) -> tuple[Int8[Tensor, "rows n"], Float32[Tensor, "rows"]]:
    """(codes, scales) of each row: max|row| / 127 in float32, and row / scale, rounded half to even.

    Raises ValueError if x is not 2-d, or holds NaN or an infinity.
    """
    raise NotImplementedError("int8_linear.quantize_per_row: write me")


def dequantize(
    codes: Int8[Tensor, "rows n"], scales: Float32[Tensor, "rows"], dtype: torch.dtype
) -> Float[Tensor, "rows n"]:
    """scale * code for each row, multiplied in float32 at least and then rounded to dtype."""
    raise NotImplementedError("int8_linear.dequantize: write me")


def int8_matmul(a: Int8[Tensor, "m k"], b: Int8[Tensor, "n k"]) -> Int32[Tensor, "m n"]:
    """a b^T, exactly, for codes in [-127, 127] and k from 2 on (torch 2.13's _int_mm misreads a single column).

    Raises ValueError if a or b is not 2-d, if their k differ, or if k is above MAX_TERMS.
    """
    raise NotImplementedError("int8_linear.int8_matmul: write me")


class Int8Linear(nn.Module):
    """A linear layer whose weight is int8. It has no parameters, only buffers, which the state dict holds.

    Buffers: `codes` int8 [out, in], `scales` float32 [out], and `bias` [out], which is None for a layer without.
    `.half()`, `.to(dtype)` and the like cast every floating buffer of a module. The bias may be cast, but codes stay
    int8, and scales stay float32 with all their digits. `.to(device)` moves all of them.

    train() and eval() make no difference.
    """

    codes: Tensor
    scales: Tensor
    bias: Tensor | None

    def __init__(
        self, codes: Int8[Tensor, "out in"], scales: Float32[Tensor, "out"], bias: Tensor | None, *, dynamic: bool
    ) -> None:
        """Keeps codes, scales and bias as buffers. `dynamic`: forward quantises x, too."""
        raise NotImplementedError("int8_linear.Int8Linear.__init__: write me")

    @classmethod
    def from_linear(cls, linear: nn.Linear, *, dynamic: bool) -> Self:
        """The layer with the weight of `linear`, quantised per row, and its bias as it is, dtype too.

        It shares no memory with `linear`, which is unchanged, and has no graph. Raises ValueError if the weight holds
        NaN or an infinity.
        """
        raise NotImplementedError("int8_linear.Int8Linear.from_linear: write me")

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """Weight-only: x times the dequantised weight, plus bias, in the dtype of x or a wider one.

        Dynamic: each token (row of x) is quantised with a scale of its own; the integer product is rescaled and the
        bias added in float32 at least. Both return the dtype of x, whatever that of the bias. Dynamic raises
        ValueError if x holds NaN or an infinity; weight-only does not.
        """
        raise NotImplementedError("int8_linear.Int8Linear.forward: write me")
