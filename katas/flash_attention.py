"""Flash attention.

Exact attention without the matrix of scores: write the tiled forward pass with the online softmax, merge the results of
two halves of the keys, and form the gradients from the answers and one number for each query.

With the scores s_j = scale q . k_j of the keys j that a query sees:
    lse = log sum_j exp(s_j),   p_j = exp(s_j - lse),   out = sum_j p_j v_j
lse is the natural log-sum-exp. The keys come in blocks of block_k, the queries in blocks of block_q; a block may be longer
than what there is, and the last one may be shorter. Results do not depend on them, up to rounding.

    causal: the last query stands at the last key: query i of T sees key j of S if j <= i + S - T. T may exceed S.
    scale: None for 1 / sqrt(dim).
    A query that sees no key has out 0 and lse -inf, and no part in any gradient.

Numbers: the arguments are finite and of one floating dtype, lse excepted. All sums run in float32, or in float64 if the
arguments are float64; lse has that dtype, all other results have the arguments'. Scores up to +-2e5 are fine in every dtype.
`*batch` is any number of dimensions, also none, and the same in all arguments. No argument is modified.

Cost, where the blocks divide queries and keys: no operator returns a tensor that has more elements than the largest of q,
k, v, out and batch x queries x block_k. What exists at a time grows with queries + keys, not with their product. A tile of
block_q x block_k scores that causal hides altogether is skipped. The number of operators does not grow with the batch.

Rules: the ready-made attentions are forbidden (F.scaled_dot_product_attention, torch.nn.attention with flex and varlen
attention, their operators, nn.MultiheadAttention). The forward pass need not be differentiable, and flash_backward works
without autograd: also under torch.inference_mode().

Stage 1: the forward pass, for blocks of any size.  Stage 2: short last blocks, causal, queries without a key, merge, wrong
arguments.  Stage 3: scores of +-2e5, every dtype.  Stage 4: what the forward pass costs; the backward pass.

Sources: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); Dao et al., "FlashAttention" (2022);
Dao, "FlashAttention-2" (2023).
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def flash_attention(
    q: Float[Tensor, "*batch queries dim"],
    k: Float[Tensor, "*batch keys dim"],
    v: Float[Tensor, "*batch keys value_dim"],
    *,
    causal: bool = False,
    block_q: int = 64,
    block_k: int = 64,
    scale: float | None = None,
) -> tuple[Float[Tensor, "*batch queries value_dim"], Float[Tensor, "*batch queries"]]:
    """out and lse. Each score is computed once: without causal it takes 2 queries keys (dim + value_dim) FLOPs a sample.

    Raises ValueError if a block is below 1, or if q, k and v differ in batch, q and k in dim, or k and v in keys.
    """
    raise NotImplementedError("flash_attention.flash_attention: write me")


def merge(
    outs: Sequence[Float[Tensor, "*batch queries value_dim"]], lses: Sequence[Float[Tensor, "*batch queries"]]
) -> tuple[Float[Tensor, "*batch queries value_dim"], Float[Tensor, "*batch queries"]]:
    """out and lse over all keys, from those of the same queries over parts of the keys: one part or more, in any order.

    A part that saw no key (out 0, lse -inf) changes nothing. Decoding over a split cache and ring attention need this.

    Raises ValueError if there is no part, if outs and lses are not as many, or if their shapes disagree.
    """
    raise NotImplementedError("flash_attention.merge: write me")


def flash_backward(
    grad: Float[Tensor, "*batch queries value_dim"],
    q: Float[Tensor, "*batch queries dim"],
    k: Float[Tensor, "*batch keys dim"],
    v: Float[Tensor, "*batch keys value_dim"],
    out: Float[Tensor, "*batch queries value_dim"],
    lse: Float[Tensor, "*batch queries"],
    *,
    causal: bool = False,
    block_q: int = 64,
    block_k: int = 64,
    scale: float | None = None,
) -> tuple[
    Float[Tensor, "*batch queries dim"], Float[Tensor, "*batch keys dim"], Float[Tensor, "*batch keys value_dim"]
]:
    """dq, dk and dv, the gradients of sum(grad * out); out and lse are flash_attention's.

    Without causal, k and v may be a part of the keys that out and lse were computed (or merged) from, as in ring
    attention. dk and dv are then the part's, and the dq of all parts add up.

    A tile takes at most 7 products: 5 if it is formed once, 7 if it is formed for dq and again for dk and dv.
    Raises ValueError as flash_attention does, and if grad, out or lse does not have the shape that it has there.
    """
    raise NotImplementedError("flash_attention.flash_backward: write me")
