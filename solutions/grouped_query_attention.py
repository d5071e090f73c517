"""Grouped-query attention.

32 query heads, 8 heads of keys and values. Write it for prefill and for decoding, without repeating K and V in memory.
What is saved, and what is not?

Each KV head serves a group of heads / kv_heads query heads. With d the size of a head, for query head h and its KV head g:
    answers[h] = softmax(q[h] k[g]^T / sqrt(d)) v[g],   g = h // (heads / kv_heads)
Consecutive query heads share: with 4 heads and 2 KV heads, 0 and 1 read KV head 0, 2 and 3 read KV head 1. One KV head
for all is multi-query attention, as many as query heads is multi-head attention.

Rules: torch's F.scaled_dot_product_attention is allowed, with enable_gqa, too: what counts are the order of the heads
and the memory. No argument is modified. Results have the dtype of the inputs, and nothing is computed in a narrower one.
Attention and pooling have gradients.

Stage 1: any number of KV heads, from one to all.  Stage 2: causal with a cache, pooled projections, sizes in bytes,
wrong arguments.  Stage 3: scores of 3e4, every dtype, gradients.  Stage 4: a decoding step reads K and V once; each
score is computed once, and no tensor larger than q and the scores is formed; no loop over samples, queries or query heads.

Sources: Shazeer, "Fast Transformer Decoding: One Write-Head is All You Need" (2019); Ainslie et al., "GQA: Training
Generalized Multi-Query Transformer Models from Multi-Head Checkpoints" (2023), which pools the heads of a checkpoint.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def grouped_attention(
    q: Float[Tensor, "batch heads queries dim"],
    k: Float[Tensor, "batch kv_heads keys dim"],
    v: Float[Tensor, "batch kv_heads keys dim"],
    *,
    causal: bool = False,
) -> Float[Tensor, "batch heads queries dim"]:
    """The answers of all query heads; head h reads KV head h // (heads / kv_heads).

    With `causal`, the last query stands at the last key, as in a decoder with a cache: query i of T sees key j of S if
    j <= i + S - T. Scores q k^T / sqrt(dim) up to +-3e4 are fine in every floating dtype: nothing overflows (float16 ends
    at 65504) or is clipped, so that a difference which the dtype can represent counts.

    Cost, where k and v are contiguous or slices k[:, :, :keys] of a longer cache (of other layouts, such as transposed
    ones, only the answers count): a step with one query, of 16 heads on 4 of size 128, moves at most 1.5 times the bytes
    of k and v, or twice in float16 and bfloat16, where scores may be float32. So k and v are neither copied nor
    converted. With more queries no tensor is formed that has more elements than both q and the scores [batch, heads,
    queries, keys]. The number of operators does not grow with batch, heads or queries; a loop over KV heads may take 12
    for each.

    Raises ValueError if kv_heads is 0 or does not divide heads, if k and v differ in shape, if q differs from them in
    batch or dim, or if `causal` and there are more queries than keys.
    """
    # kata: begin
    batch, heads, queries, dim = q.shape
    _, kv_heads, keys, _ = k.shape
    if not k.shape == v.shape == (batch, kv_heads, keys, dim):
        raise ValueError(f"k and v should be [{batch}, kv_heads, keys, {dim}], got {[*k.shape]} and {[*v.shape]}")
    if not kv_heads or heads % kv_heads:
        raise ValueError(f"kv_heads must divide heads, got {kv_heads} and {heads}")
    if causal and queries > keys:
        raise ValueError(f"causal attention needs a key for each query, got {queries} queries, {keys} keys")
    group = heads // kv_heads
    # The queries of a group become the rows of one matrix: one product for each KV head, and K is read where it lies.
    # Scaled before the product: in float16 q k^T can overflow where q k^T / sqrt(d) does not.
    rows = (q * dim**-0.5).reshape(batch, kv_heads, group * queries, dim)
    scores = rows @ k.transpose(-2, -1)  # [batch, kv_heads, group * queries, keys]
    if causal:
        # Row r * queries + i is query i of the group's head r: each head has the same triangle.
        future = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(keys - queries + 1)
        scores = scores.unflatten(2, (group, queries)).masked_fill(future, -torch.inf).flatten(2, 3)
    return (scores.softmax(-1) @ v).reshape(q.shape)
    # kata: end


def pool_kv_heads(weight: Float[Tensor, "out in"], heads: int, kv_heads: int) -> Float[Tensor, "pooled in"]:
    """A multi-head K or V projection as a grouped one: the mean of each group of heads / kv_heads consecutive heads.

    `weight` is an nn.Linear's: out = heads * head_dim, and head h is the h-th block of head_dim rows. The result has
    kv_heads * head_dim rows, in the same order. Models start from it and are trained a little further.

    Raises ValueError if heads or kv_heads is below 1, if kv_heads does not divide heads, or if heads does not divide out.
    """
    # kata: begin
    if min(heads, kv_heads) < 1 or heads % kv_heads or len(weight) % heads:
        raise ValueError(f"{len(weight)} rows in {heads} heads cannot be pooled to {kv_heads} heads")
    return weight.unflatten(0, (kv_heads, heads // kv_heads, -1)).mean(1).flatten(0, 1)  # [kv_heads, group, d, in]
    # kata: end


def kv_bytes_per_token(layers: int, kv_heads: int, head_dim: int, dtype_bytes: int = 2) -> int:
    """The bytes that one token of one sequence takes in the cache of keys and values, in all layers together."""
    # kata: begin
    return 2 * layers * kv_heads * head_dim * dtype_bytes
    # kata: end
