"""4-bit weights: groups with a zero point, and NF4.

4-bit weights: group-wise with zero points, and NF4. Pack two per byte. How many bits per weight is it really?

Two formats of 16 levels. Groups: in each row, group_size neighbours share a scale and a zero point, the code of 0:
    low = min(0, the smallest),  high = max(0, the largest),  scale = (high - low) / 15
    zero = -low / scale, rounded,    code = w / scale, rounded, plus zero, clamped to [0, 15]
    w ~ (code - zero) * scale
The range is widened to include 0, so that 0 comes back as 0, exactly. NF4: block_size neighbours of the flattened weight
(row by row) share absmax = max|w|, and a code is the index of the level of NF4 that is nearest to w / absmax. These
levels are quantiles of a normal distribution.

Rounding is to the nearest; what lies halfway between two codes may get either (so may a zero point). No eps is added to
a scale, and none is a lower limit. A group of zeros comes back as zeros; its scale is finite, and otherwise up to you.
A block of zeros has the absmax 0 and the codes 7, the level 0. What spans less than 2e-37, where float32 ends, may count
as zeros. Weights are finite, and so is high - low in float32.

Rules: all of torch may be used. float16, bfloat16, float32 and float64, contiguous or not, also where they need a
gradient; results have no graph. No argument is modified.

Stage 1: groups, and back.  Stage 2: groups of zeros and of one sign, two codes in a byte, wrong arguments.  Stage 3:
NF4, and every dtype.  Stage 4: the layer and its bytes: it holds its buffers and nothing else, also after a call, and
nothing has more elements than the weight; quantize_nf4 makes no tensor of more than twice the elements of the weight; no
loop over groups or blocks.

Source: Frantar et al., "GPTQ" (2022), for the groups; Dettmers et al., "QLoRA" (2023), for NF4.
"""

from typing import Self

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

NF4 = torch.tensor(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
        *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
    ]
)  # float32: given, not for you to write


def quantize_groups(
    weight: Float[Tensor, "out in"], group_size: int
) -> tuple[UInt8[Tensor, "out in"], Float32[Tensor, "out groups"], UInt8[Tensor, "out groups"]]:
    """(codes, scales, zeros), computed in float32 at least. Group j of a row is weight[:, j * group_size :][:, :group_size].

    Raises ValueError if weight is not 2-d, if group_size is below 1, or if it does not divide `in`.
    """
    raise NotImplementedError("int4_weights.quantize_groups: write me")


def dequantize_groups(
    codes: UInt8[Tensor, "out in"],
    scales: Float32[Tensor, "out groups"],
    zeros: UInt8[Tensor, "out groups"],
    dtype: torch.dtype,
) -> Float[Tensor, "out in"]:
    """(code - zero) * scale, multiplied in float32 at least and then rounded to dtype."""
    raise NotImplementedError("int4_weights.dequantize_groups: write me")


def pack(codes: UInt8[Tensor, "*rows n"]) -> UInt8[Tensor, "*rows n//2"]:
    """Two codes in a byte: those of even columns in the low four bits, those of odd columns in the high ones.

    Raises ValueError if n is odd, or if a code is above 15.
    """
    raise NotImplementedError("int4_weights.pack: write me")


def unpack(packed: UInt8[Tensor, "*rows half"]) -> UInt8[Tensor, "*rows 2*half"]:
    """The codes that pack() has packed."""
    raise NotImplementedError("int4_weights.unpack: write me")


def quantize_nf4(
    weight: Float[Tensor, "*shape"], block_size: int = 64
) -> tuple[UInt8[Tensor, "n"], Float32[Tensor, "blocks"]]:
    """(codes, absmax), flat, of the weight's numbers row by row, computed in float32 at least.

    The last block is shorter where block_size does not divide n. Raises ValueError if block_size is below 1.
    """
    raise NotImplementedError("int4_weights.quantize_nf4: write me")


def dequantize_nf4(
    codes: UInt8[Tensor, "n"],
    absmax: Float32[Tensor, "blocks"],
    shape: tuple[int, ...],
    dtype: torch.dtype,
    block_size: int = 64,
) -> Float[Tensor, "*shape"]:
    """NF4[code] * absmax of its block, multiplied in float32 at least and then rounded to dtype, in this shape."""
    raise NotImplementedError("int4_weights.dequantize_nf4: write me")


def bits_per_weight(block_size: int, *, scale_bits: int = 32, double_block: int | None = None) -> float:
    """Bits that one weight takes: its code, and its share of the scale_bits that are stored for each block.

    Double quantisation: scales take 8 bits each, and every double_block of them share one of scale_bits. Raises
    ValueError if block_size or double_block is below 1.
    """
    raise NotImplementedError("int4_weights.bits_per_weight: write me")


class Int4Linear(nn.Module):
    """A linear layer whose weight is packed groups. It has no parameters, only buffers, which the state dict holds.

    Buffers: `packed` uint8 [out, in // 2], `scales` float32 [out, groups], `zeros` uint8 [out, groups], and `bias`
    [out], which is None for a layer without. What `.half()` and the like do to the scales is up to you.
    """

    packed: Tensor
    scales: Tensor
    zeros: Tensor
    bias: Tensor | None

    def __init__(
        self,
        packed: UInt8[Tensor, "out in//2"],
        scales: Float32[Tensor, "out groups"],
        zeros: UInt8[Tensor, "out groups"],
        bias: Tensor | None,
    ) -> None:
        """Keeps all four as buffers."""
        raise NotImplementedError("int4_weights.Int4Linear.__init__: write me")

    @classmethod
    def from_linear(cls, linear: nn.Linear, group_size: int) -> Self:
        """The layer with the weight of `linear`, quantised in groups and packed, and its bias as it is, dtype too.

        It shares no memory with `linear`, which is unchanged, and has no graph. Raises what quantize_groups and pack do.
        """
        raise NotImplementedError("int4_weights.Int4Linear.from_linear: write me")

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        """x times the dequantised weight, plus bias, in the dtype of x or a wider one; returns the dtype of x.

        `*batch` is any number of leading dimensions (also none). A gradient reaches x.
        """
        raise NotImplementedError("int4_weights.Int4Linear.forward: write me")
