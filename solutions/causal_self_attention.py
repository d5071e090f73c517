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


# kata: begin
def attention_weights(
    q: Float[Tensor, "*batch queries dim"],
    k: Float[Tensor, "*batch keys dim"],
    mask: Bool[Tensor, "*#batch #queries #keys"] | None,
    causal: bool,
) -> Float[Tensor, "*batch queries keys"]:
    """What each query takes of each key: rows that sum to 1, or rows of zeros."""
    # Scaled before the product: in float16 q k^T can overflow where q k^T / sqrt(d) does not.
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # [*batch, queries, keys]
    shape = scores.shape
    if mask is not None:
        sizes = zip(mask.shape[::-1], shape[::-1], strict=False)
        if mask.dtype != torch.bool or mask.dim() > len(shape) or any(own not in (1, size) for own, size in sizes):
            raise ValueError(f"mask must be boolean and broadcast to {[*shape]}, got {mask.dtype} {[*mask.shape]}")
    if causal:
        past = shape[-1] - shape[-2]
        if past < 0:
            raise ValueError(f"causal attention needs a key for each query, got {shape[-2]} queries, {shape[-1]} keys")
        triangle = torch.ones(shape[-2:], dtype=torch.bool, device=q.device).tril(past)
        mask = triangle if mask is None else mask & triangle
    if mask is None:
        return scores.softmax(-1)
    # Softmax over nothing is 0 / 0: such a query sees everything for a moment, and then its weights are wiped out.
    nothing = ~mask.any(-1, keepdim=True)  # [..., queries, 1]
    return scores.masked_fill(~(mask | nothing), -torch.inf).softmax(-1).masked_fill(nothing, 0.0)


# kata: end


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
    # kata: begin
    return attention_weights(q, k, mask, causal) @ v
    # kata: end


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
        # kata: begin
        if heads < 1 or dim % heads:
            raise ValueError(f"heads must be at least 1 and divide dim, got {heads} and {dim}")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {dropout}")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        # kata: end

    def forward(
        self, x: Float[Tensor, "batch n dim"], padding: Bool[Tensor, "batch n"] | None = None
    ) -> Float[Tensor, "batch n dim"]:
        """Each token's answer; `padding` is True at the real tokens, and the others are hidden as keys.

        What comes out at a padded token may be anything finite. In training each weight is dropped, after the softmax,
        with probability `dropout`, independently, and the others are divided by 1 - dropout; in evaluation none is.

        Raises ValueError if padding is not boolean or not of shape [batch, n].
        """
        # kata: begin
        if padding is not None:
            if padding.dtype != torch.bool or padding.shape != x.shape[:2]:
                raise ValueError(f"padding must be boolean {[*x.shape[:2]]}, got {padding.dtype} {[*padding.shape]}")
            padding = padding[:, None, None]  # [batch, n] -> [batch, 1, 1, n]: hidden from all heads and queries
        # [batch, n, 3 dim] -> [batch, n, 3, heads, d] -> three of [batch, heads, n, d]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        weights = self.dropout(attention_weights(q, k, padding, causal=True))  # [batch, heads, n, n]
        answers = weights @ v  # [batch, heads, n, d]
        return self.out(answers.transpose(1, 2).flatten(-2))  # -> [batch, n, heads, d] -> [batch, n, dim]
        # kata: end
