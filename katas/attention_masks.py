"""Attention masks.

Write the masks of modern decoders: causal with a cache, sliding window with sinks, packed documents, and ALiBi's bias.
Then attend in a window without n^2 work.

A mask is a statement about a query i and a key j. Masks are boolean, True = attend. Where there are fewer queries than
keys, as in a decoder with a cache, the queries are the newest tokens: query i stands at place keys - queries + i, so
the last query stands at the last key.

Rules: nothing from torch.nn.attention; F.scaled_dot_product_attention is allowed. No argument is modified, and each
result is a tensor of its own, which the caller may change. Tensors that are made from a tensor are on its device.

Stage 1: causal and window masks.  Stage 2: a cache, sinks, packed documents, wrong arguments.  Stage 3: ALiBi for any
number of heads, in every dtype.  Stage 4: attention in a window; for n 1024 and window 64 it takes at most 2.2 times
the FLOPs of the pairs that see each other, forms no tensor of n^2 elements, and runs fewer operators than there are
tokens: blocks of queries in a loop or all at once, but no loop over queries, and none over the batch.

Sources: Beltagy et al., "Longformer" (2020), for the window; Xiao et al., "Efficient Streaming Language Models with
Attention Sinks" (2023); Krell et al., "Efficient Sequence Packing without Cross-contamination" (2021); Press et al.,
"Train Short, Test Long: Attention with Linear Biases" (2021), and their code for the slopes.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor
from torch.nn import functional as F


def causal_mask(queries: int, keys: int) -> Bool[Tensor, "queries keys"]:
    """Each query sees the key at its own place and those before it; the last query stands at the last key.

    Raises ValueError if there are more queries than keys.
    """
    raise NotImplementedError("attention_masks.causal_mask: write me")


def window_mask(queries: int, keys: int, window: int, *, sinks: int = 0) -> Bool[Tensor, "queries keys"]:
    """Each query sees `window` keys, as far as there are so many: that at its own place and the window - 1 before it.

    Besides, it sees the first `sinks` keys (attention sinks), but none in its future. Queries stand as in `causal_mask`.

    Raises ValueError if `window` is below 1, if `sinks` is negative, or if there are more queries than keys.
    """
    raise NotImplementedError("attention_masks.window_mask: write me")


def document_mask(documents: Int64[Tensor, "*batch n"]) -> Bool[Tensor, "*batch n n"]:
    """Of documents packed into one row, each token sees itself and those before it in its own document.

    `documents` has a label for each token: any number from 0 on, the same for all tokens of a document, which stand side
    by side. -1 is padding, at any place: it sees nothing, itself included, and nothing sees it. Each row of the batch has
    documents of its own.

    Raises ValueError if a label comes back after another label or after padding (1, 2, 1), or if one is below -1.
    """
    raise NotImplementedError("attention_masks.document_mask: write me")


def document_positions(documents: Int64[Tensor, "*batch n"]) -> Int64[Tensor, "*batch n"]:
    """The place of each token in its own document, from 0; at padding any number from 0 to n - 1.

    `documents` as in `document_mask`. Raises ValueError in the same cases.
    """
    raise NotImplementedError("attention_masks.document_positions: write me")


def alibi_slopes(heads: int) -> Float64[Tensor, "heads"]:
    """The slope of each head. For a power of two they are 2^(-8 h / heads), h from 1 to heads.

    For any other number they are those of the power of two below it, and then as many as are missing of those of twice
    that power: every second one, from the first. 12 heads have the slopes of 8 heads, and 4 of those of 16 heads:
    2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5. Computed in float64.

    Raises ValueError if `heads` is below 1.
    """
    raise NotImplementedError("attention_masks.alibi_slopes: write me")


def alibi_bias(
    heads: int, queries: int, keys: int, *, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "heads queries keys"]:
    """What ALiBi adds to the scores: -slope * distance for the key at the query's own place and those before it.

    The distance is 0 at the query's own place and 1 at the key before it; in the future the bias is -inf. Queries stand
    as in `causal_mask`. Every entry is right to two roundings of `dtype`, however far the key is, although `dtype` may
    not tell all places apart (bfloat16 does not above 256).

    Raises ValueError if `heads` is below 1, or if there are more queries than keys.
    """
    raise NotImplementedError("attention_masks.alibi_bias: write me")


def window_attention(
    q: Float[Tensor, "*batch n dim"], k: Float[Tensor, "*batch n dim"], v: Float[Tensor, "*batch n dim"], window: int
) -> Float[Tensor, "*batch n dim"]:
    """softmax(q k^T / sqrt(dim)) v, each query with the keys of window_mask(n, n, window), at a cost that grows with n.

    n need not be a multiple of `window`; a window wider than n takes no more FLOPs than one of n. *batch is any number of
    dimensions, including none. The result has the dtype of q. A key outside the window gets a weight and gradients of
    exactly 0, and scores q k^T / sqrt(dim) up to +-3e4, hidden ones too, work in every floating dtype (float16 ends at
    65504).

    Raises ValueError if `window` is below 1.
    """
    raise NotImplementedError("attention_masks.window_attention: write me")
