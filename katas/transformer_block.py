"""The transformer block.

Write a Llama block: RMSNorm, attention, SwiGLU, residuals. Why pre-norm, and why 8/3?

The feed-forward part has two projections in and one out, and one of the two that lead in is the gate of the other:
    SwiGLU(x) = down(silu(gate(x)) * up(x)),    silu(z) = z * sigmoid(z)
In the block each branch reads the stream through its own norm, and what it answers is added to the stream:
    h = x + attention(norm1(x))
    block(x) = h + SwiGLU(norm2(h)),    norm(x) = x / sqrt(mean(x^2) + eps) * weight
The mean is along the last dimension. `*batch` is any number of leading dimensions, also none.

Rules: everything that torch offers may be called, nn.RMSNorm too (what happens inside is the kata rms_norm). No dropout,
and no other norms or factors. Neither x nor what attention is given or gives back is modified. x and all parameters have
one dtype, and so has the result; nothing is computed in a narrower one, and the norms' x / sqrt(mean(x^2) + eps) in
float32 at least, before it is rounded to the dtype of x. Training and evaluation are the same, gradients included.

Stage 1: SwiGLU.  Stage 2: the block, what attention is given, any leading dimensions, sizes, wrong arguments.
Stage 3: nothing in place, every dtype, gates and streams of 1e4, gradients.  Stage 4: FLOPs, memory, no loop over rows,
deep stacks.

Sources: Shazeer, "GLU Variants Improve Transformer" (2020); Touvron et al., "LLaMA: Open and Efficient Foundation
Language Models" (2023), section 2.2; Xiong et al., "On Layer Normalization in the Transformer Architecture" (2020).
"""

from typing import Any

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def swiglu_hidden(dim: int, *, multiple_of: int = 256, multiplier: float | None = None) -> int:
    """The hidden size of a `dim` wide SwiGLU, by the rule of Meta's Llama models.

    8/3 of dim, truncated to an integer; with a multiplier, multiplied by it and truncated again; then rounded up to the
    next multiple of `multiple_of` (a multiple stays as it is). 4096 gives 11008, and 14336 with multiplier=1.3 and
    multiple_of=1024.

    Raises ValueError if dim or multiple_of is below 1, or if the multiplier is not above 0 (NaN included).
    """
    raise NotImplementedError("transformer_block.swiglu_hidden: write me")


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x)): the feed-forward part of the block.

    Submodules: gate and up = nn.Linear(dim, hidden), down = nn.Linear(hidden, dim), all without bias; the state_dict holds
    nothing else.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        """Initial weights are nn.Linear's own. Raises ValueError if dim or hidden is below 1."""
        super().__init__()
        raise NotImplementedError("transformer_block.SwiGLU.__init__: write me")

    def forward(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
        """down(silu(gate(x)) * up(x)), for 6 * rows * dim * hidden FLOPs of matrix products, where x has `rows` rows.

        gate(x) may be +-1e4 in every dtype, as long as the products are finite. In float32 it keeps at most five tensors
        of [*batch, hidden] for the backward pass.
        """
        raise NotImplementedError("transformer_block.SwiGLU.forward: write me")


class Block(nn.Module):
    """x + attention(norm1(x)), and then the same with mlp and norm2: a block of a pre-norm transformer.

    Submodules: norm1, norm2, each with one parameter, weight [dim]; attention, the module that is passed in; mlp, a
    SwiGLU. The state_dict holds nothing else.
    """

    def __init__(self, dim: int, hidden: int, attention: nn.Module, eps: float = 1e-6) -> None:
        """The norms' weights are ones at first, and eps is that of both.

        attention(x, **kwargs) returns a tensor of the shape of x, [*batch, n, dim]; whatever it does is up to it.
        Raises ValueError if dim or hidden is below 1.
        """
        super().__init__()
        raise NotImplementedError("transformer_block.Block.__init__: write me")

    def forward(self, x: Float[Tensor, "*batch n dim"], **kwargs: Any) -> Float[Tensor, "*batch n dim"]:
        """h + mlp(norm2(h)) for h = x + attention(norm1(x), **kwargs).

        attention is called once, not again in the backward pass, with all of kwargs as they are, None included.
        """
        raise NotImplementedError("transformer_block.Block.forward: write me")
