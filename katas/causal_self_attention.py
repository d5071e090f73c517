"""Causal self-attention.

Implement multi-head causal self-attention, and state every shape. Then the mask changes: padding, a cache with more
keys than queries, a query that may see nothing.

A query's answer is a mean of the values, weighted by a softmax over the keys that it may see; with d = q's last size:
    attention(q, k, v) = softmax(q k^T / sqrt(d)) v
In the layer every head does this on its own block of d = dim / heads features, and each token sees itself and those
before it. The heads' answers, side by side, pass through one last linear layer.

Rules: write it out yourself: no F.scaled_dot_product_attention, no nn.MultiheadAttention or its function, nothing from
torch.nn.attention. Masks are boolean, True = attend. No argument is modified. Results have the dtype of the inputs,
and are computed in it or in a wider one.

Stage 1: attention with and without masks, the layer, heads, padding.  Stage 2: masks of every shape, more keys than
queries, queries that see nothing, any leading dimensions, dropout, wrong arguments.  Stage 3: scores of 3e4, every
dtype, gradients.  Stage 4: each product is done once, nothing larger than the scores [batch, heads, n, n] is formed,
and the number of operators grows neither with the batch nor with the heads.

Sources: Vaswani et al., "Attention Is All You Need" (2017), section 3.2; Radford et al., "Language Models are
Unsupervised Multitask Learners" (2019), whose GPT-2 has this layout of qkv.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


def attention(
    q: Float[Tensor, "*batch queries dim"],
    k: Float[Tensor, "*batch keys dim"],
    v: Float[Tensor, "*batch keys value_dim"],
    mask: Bool[Tensor, "*#batch #queries #keys"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "*batch queries value_dim"]:
    """softmax(q k^T / sqrt(dim)) v over the keys that each query may see; without `mask` and `causal`, over all.

    `mask` is True where a query may see a key, in any shape that broadcasts to [*batch, queries, keys] ([keys] alone,
    too). With `causal`, the last query stands at the last key, as in a decoder with a cache: query i of T sees key j of
    S if j <= i + S - T. With both, a query sees what both allow. *batch is any number of dimensions, including none.

    A hidden key's weight is exactly 0, and key and value get no gradient from that query, whatever finite numbers they
    hold, as long as all scores are finite, hidden ones too. A query that may see nothing gets exactly zeros, and passes
    back gradients of zero. Scores q k^T / sqrt(dim) up to +-3e4 must work in every floating dtype (float16 ends at 65504).

    Raises ValueError if the mask is not boolean or does not broadcast to that shape, or if `causal` and there are more
    queries than keys.
    """
    raise NotImplementedError("causal_self_attention.attention: write me")


class CausalSelfAttention(nn.Module):
    """Multi-head attention of each token to itself and the tokens before it.

    Submodules: qkv = nn.Linear(dim, 3 * dim) and out = nn.Linear(dim, dim), both with bias; the state_dict holds nothing
    else. With d = dim / heads: the first dim outputs of qkv are q, the next dim k, the last dim v; head h works with the
    h-th block of d consecutive ones in each, and its answer is the h-th block of out's input (GPT-2's layout).
    """

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        """Initial weights are nn.Linear's own. `dropout` is the probability that an attention weight is dropped in training.

        Raises ValueError if heads is below 1 or does not divide dim, or if dropout is not in [0, 1).
        """
        super().__init__()
        raise NotImplementedError("causal_self_attention.CausalSelfAttention.__init__: write me")

    def forward(
        self, x: Float[Tensor, "batch n dim"], padding: Bool[Tensor, "batch n"] | None = None
    ) -> Float[Tensor, "batch n dim"]:
        """Each token's answer; `padding` is True at the real tokens, and the others are hidden as keys.

        What comes out at a padded token may be anything finite. In training each weight is dropped, after the softmax,
        with probability `dropout`, independently, and the others are divided by 1 - dropout; in evaluation none is.

        Raises ValueError if padding is not boolean or not of shape [batch, n].
        """
        raise NotImplementedError("causal_self_attention.CausalSelfAttention.forward: write me")
