"""Rotary position embeddings (RoPE).

How does attention know where a token stands? Write RoPE. There are two conventions in the wild: write both, convert
weights from one to the other, use it with a KV cache, and stretch the context.

The channels of a query or key form pairs, and each pair is turned by an angle that grows with the token's position:
pair i by position * base^(-2 i / dim). A dot product does not change when both vectors are turned alike, so the score of a
query at m and a key at n depends on m - n alone. Values are never turned.

Rules. A pair (a, b) turns counter-clockwise: (a cos - b sin, a sin + b cos). Which channels form a pair differs between
checkpoints, and nothing but the outputs shows a swap:
  - interleaved: channels (2 i, 2 i + 1), as in Meta's Llama, GPT-J and Cohere;
  - half-split: channels (i, i + half), as in GPT-NeoX and Hugging Face's Llama; half is the number of pairs that turn.
Positions are given and never implied: with a KV cache the next token does not stand at 0. Angles, sines and cosines are
computed in float32 at least, whatever the dtypes of x and of the frequencies are. The products are taken in the dtype of
x or a wider one, never in a narrower one. A result has the dtype of x. No argument is modified.

Stage 1: frequencies, half-split pairs.  Stage 2: interleaved pairs, any positions, partial rotary, wrong arguments.
Stage 3: dtypes at far positions, gradients, converted weights.  Stage 4: longer contexts; a rotation reads and writes at
most 16 times the bytes of x, all temporary results counted (a float64 copy of a float32 x is twice its bytes), and the
number of operators does not grow with rows, heads, tokens or pairs.

Sources: Su et al., "RoFormer" (2021); Chen et al., "Extending Context Window ... via Positional Interpolation" (2023), for
linear scaling; bloc97, "NTK-Aware Scaled RoPE" (2023).
"""

from typing import Literal

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor


def inverse_frequencies(
    dim: int,
    base: float = 10000.0,
    *,
    scaling: Literal["none", "linear", "ntk"] = "none",
    factor: float = 1.0,
) -> Float64[Tensor, "half"]:
    """The angle by which each of the dim / 2 pairs turns from one position to the next, the fastest pair first.

    To make a context `factor` times as long, "linear" divides every frequency by `factor`. "ntk" multiplies the base by
    factor^(dim / (dim - 2)): the fastest pair stays as it is, and the slowest is divided by `factor`; at dim 2 nothing
    changes. With "none" the factor has no effect. Computed in float64. Raises ValueError for a `dim` that is odd or below
    2, a base that is not positive, a factor below 1 (with any scaling), or an unknown scaling.
    """
    # kata: begin
    if dim < 2 or dim % 2:
        raise ValueError(f"dim should be even and at least 2, got {dim}")
    if base <= 0:
        raise ValueError(f"the base should be positive, got {base}")
    if factor < 1:
        raise ValueError(f"the factor should be at least 1, got {factor}")
    if scaling not in ("none", "linear", "ntk"):
        raise ValueError(f"scaling should be 'none', 'linear' or 'ntk', got {scaling!r}")
    if scaling == "ntk" and dim > 2:
        base *= factor ** (dim / (dim - 2))
    frequencies = base ** -(torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return frequencies / factor if scaling == "linear" else frequencies
    # kata: end


def rotate(
    x: Float[Tensor, "*batch n dim"],
    positions: Int64[Tensor, "*#batch n"],
    frequencies: Float[Tensor, "half"],
    *,
    interleaved: bool,
) -> Float[Tensor, "*batch n dim"]:
    """x with each pair turned by its token's position times the pair's frequency.

    `positions` are broadcast over the leading dimensions of x, as usual from the right: [n] serves all rows and heads of
    an x of [rows, heads, n, dim], [rows, 1, n] gives every row positions of its own. Negative ones turn back. With fewer
    frequencies than dim / 2 only the first 2 * half channels are turned, in pairs among themselves, and the others stay
    (partial rotary). Raises ValueError if 2 * half is more than dim.
    """
    # kata: begin
    half = len(frequencies)
    if 2 * half > x.shape[-1]:
        raise ValueError(f"{half} frequencies turn {2 * half} channels, but x has {x.shape[-1]}")
    angles = positions[..., None] * frequencies.to(torch.promote_types(frequencies.dtype, torch.float32))
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = angles.cos().to(wide), angles.sin().to(wide)
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    if interleaved:
        a, b = turned[..., ::2], turned[..., 1::2]
    else:
        a, b = turned[..., :half], turned[..., half:]
    pair = a * cos - b * sin, a * sin + b * cos
    turned = torch.stack(pair, dim=-1).flatten(-2) if interleaved else torch.cat(pair, dim=-1)
    return torch.cat([turned.to(x.dtype), rest], dim=-1)
    # kata: end


def to_half_split(weight: Float[Tensor, "out *in"], heads: int) -> Float[Tensor, "out *in"]:
    """The rows of a query or key projection trained with interleaved pairs, in the order that half-split pairs need.

    The scores of half-split queries and keys are then unchanged, where all channels of a head turn. Each head has
    out / heads rows, which never leave it; a bias ([out]) is reordered alike. Raises ValueError if `heads` is below 1, or
    does not divide the rows into heads of even size.
    """
    # kata: begin
    return _heads(weight, heads).unflatten(1, (-1, 2)).transpose(1, 2).reshape(weight.shape)
    # kata: end


def to_interleaved(weight: Float[Tensor, "out *in"], heads: int) -> Float[Tensor, "out *in"]:
    """The inverse of `to_half_split`. Raises ValueError in the same cases."""
    # kata: begin
    return _heads(weight, heads).unflatten(1, (2, -1)).transpose(1, 2).reshape(weight.shape)
    # kata: end


# kata: begin
def _heads(weight: Tensor, heads: int) -> Tensor:
    """The rows as [heads, rows of one head, ...]."""
    if heads < 1 or len(weight) % (2 * heads):
        raise ValueError(f"{len(weight)} rows cannot be divided into {heads} heads of even size")
    return weight.unflatten(0, (heads, -1))


# kata: end
