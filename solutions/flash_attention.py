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

# kata: begin


def _check(q: Tensor, k: Tensor, v: Tensor, block_q: int, block_k: int) -> None:
    if min(block_q, block_k) < 1:
        raise ValueError(f"blocks must hold at least 1, got {block_q} and {block_k}")
    if k.shape != (*q.shape[:-2], k.shape[-2], q.shape[-1]) or v.shape[:-1] != k.shape[:-1]:
        raise ValueError(f"q, k and v do not fit each other: {[*q.shape]}, {[*k.shape]}, {[*v.shape]}")


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _tiles(queries: int, keys: int, causal: bool, block_q: int, block_k: int) -> Iterator[tuple[slice, list[slice]]]:
    """Each block of queries, and the blocks of the keys that its last query sees."""
    for start in range(0, queries, block_q):
        rows = slice(start, min(start + block_q, queries))
        seen = rows.stop + keys - queries if causal else keys  # below 0 for a block that sees nothing
        yield rows, [slice(first, min(first + block_k, keys)) for first in range(0, seen, block_k)]


def _scores(q: Tensor, k: Tensor, rows: slice, cols: slice, causal: bool, scale: float) -> Tensor:
    """The scores of one tile, -inf where a key is hidden."""
    scores = q[..., rows, :] @ k[..., cols, :].mT * scale  # [*batch, block_q, block_k]
    if causal:
        last = torch.arange(rows.start, rows.stop, device=q.device) + k.shape[-2] - q.shape[-2]
        hidden = torch.arange(cols.start, cols.stop, device=q.device) > last[:, None]
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores


def _finite(x: Tensor) -> Tensor:
    """x, with 0 in the place of -inf: what is subtracted from -inf must be finite, or the difference is NaN."""
    return x.where(x > -torch.inf, 0.0)


# kata: end


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
    # kata: begin
    _check(q, k, v, block_q, block_k)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    wide = _wide(q.dtype)
    out, lse = v.new_zeros(*q.shape[:-1], v.shape[-1]), q.new_zeros(q.shape[:-1], dtype=wide)
    q, k, v = q.to(wide), k.to(wide), v.to(wide)
    for rows, blocks in _tiles(q.shape[-2], k.shape[-2], causal, block_q, block_k):
        # Of the keys so far: the highest score m, total = sum of exp(s - m), acc = sum of exp(s - m) v.
        m = torch.full_like(lse[..., rows, None], -torch.inf)
        total, acc = torch.zeros_like(m), torch.zeros_like(m)  # acc becomes [*batch, block_q, value_dim]
        for cols in blocks:
            scores = _scores(q, k, rows, cols, causal, scale)
            highest = scores.amax(-1, keepdim=True).maximum(m)
            kept, weights = (m - _finite(highest)).exp(), (scores - _finite(highest)).exp()
            total = total * kept + weights.sum(-1, keepdim=True)
            acc = acc * kept + weights @ v[..., cols, :]
            m = highest
        out[..., rows, :] = acc / total.clamp(min=1.0)  # total is 0 where no key is seen, otherwise at least exp(m - m)
        lse[..., rows] = (m + total.log()).squeeze(-1)
    return out, lse
    # kata: end


def merge(
    outs: Sequence[Float[Tensor, "*batch queries value_dim"]], lses: Sequence[Float[Tensor, "*batch queries"]]
) -> tuple[Float[Tensor, "*batch queries value_dim"], Float[Tensor, "*batch queries"]]:
    """out and lse over all keys, from those of the same queries over parts of the keys: one part or more, in any order.

    A part that saw no key (out 0, lse -inf) changes nothing. Decoding over a split cache and ring attention need this.

    Raises ValueError if there is no part, if outs and lses are not as many, or if their shapes disagree.
    """
    # kata: begin
    shapes = [out.shape for out in outs]
    if len(set(shapes)) != 1 or [lse.shape for lse in lses] != [shape[:-1] for shape in shapes]:
        raise ValueError(f"the parts do not fit each other: {shapes}, {[lse.shape for lse in lses]}")
    parts = torch.stack([*lses])  # [parts, *batch, queries]
    m = _finite(parts.amax(0))
    weights = (parts - m).exp()
    total = weights.sum(0)
    acc = (weights[..., None] * torch.stack([*outs])).sum(0)
    return (acc / total.clamp(min=1.0)[..., None]).to(outs[0].dtype), m + total.log()
    # kata: end


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
    # kata: begin
    _check(q, k, v, block_q, block_k)
    if not grad.shape == out.shape == (*q.shape[:-1], v.shape[-1]) or lse.shape != q.shape[:-1]:
        raise ValueError(f"grad, out or lse does not fit: {[*grad.shape]}, {[*out.shape]}, {[*lse.shape]}")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    dtype, wide = q.dtype, _wide(q.dtype)
    grad, q, k, v, out = (t.to(wide) for t in (grad, q, k, v, out))
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    # The softmax needs sum_j p_j (grad . v_j) over all keys of a query, which is grad . out.
    shift, delta = _finite(lse)[..., None], (grad * out).sum(-1, keepdim=True)
    for rows, blocks in _tiles(q.shape[-2], k.shape[-2], causal, block_q, block_k):
        for cols in blocks:
            probs = (_scores(q, k, rows, cols, causal, scale) - shift[..., rows, :]).exp()
            dprobs = grad[..., rows, :] @ v[..., cols, :].mT
            dscores = probs * (dprobs - delta[..., rows, :]) * scale  # of q k^T, before it is scaled
            dq[..., rows, :] += dscores @ k[..., cols, :]
            dk[..., cols, :] += dscores.mT @ q[..., rows, :]
            dv[..., cols, :] += probs.mT @ grad[..., rows, :]
    return dq.to(dtype), dk.to(dtype), dv.to(dtype)
    # kata: end
