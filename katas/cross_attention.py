"""Cross-attention.

How do the words of a prompt reach the pixels of a diffusion model? Write multi-head cross-attention with masks, and
say what comes out for a query that may attend to nothing.

Queries come from x (pixels), keys and values from the context (words). In every head, with d = head_dim:
    softmax(q k^T / sqrt(d)) v
and the heads' answers, side by side, pass through one last linear layer.

Rules: everything that torch offers may be called, F.scaled_dot_product_attention too (what it does with a row that is
masked completely has changed between versions and backends: see to it yourself). No dropout, no norm and no residual:
the block around it has those. Masks are boolean, True = attend. No argument is modified.

Stage 1: one and several heads, padding masks, self-attention.  Stage 2: masks for each query, queries with nothing to
attend, any sizes, wrong arguments.  Stage 3: huge logits, dtypes, gradients.  Stage 4: each token is projected once,
nothing of the size [batch, heads, queries, keys, head_dim] is formed, and the number of operators does not grow with
the batch.

Sources: Vaswani et al., "Attention Is All You Need" (2017); Rombach et al., "High-Resolution Image Synthesis with
Latent Diffusion Models" (2022), for its place in a U-Net.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class CrossAttention(nn.Module):
    """Multi-head attention from `query_dim` wide queries to `context_dim` wide tokens.

    Submodules, all nn.Linear, and nothing else with parameters; inner = heads x head_dim, whatever query_dim is:
        to_q: query_dim -> inner, to_k and to_v: context_dim -> inner, all three without bias;
        to_out: inner -> query_dim, with bias.
    Head h works with the h-th block of head_dim consecutive outputs of to_q, to_k and to_v, and its answer is the h-th
    block of to_out's input.
    """

    def __init__(self, query_dim: int, context_dim: int, heads: int, head_dim: int) -> None:
        """Initial weights are nn.Linear's own. Raises ValueError if heads or head_dim is below 1."""
        super().__init__()
        raise NotImplementedError("cross_attention.CrossAttention.__init__: write me")

    def forward(
        self,
        x: Float[Tensor, "batch queries query_dim"],
        context: Float[Tensor, "batch keys context_dim"] | None = None,
        mask: Bool[Tensor, "batch keys"] | Bool[Tensor, "batch queries keys"] | None = None,
    ) -> Float[Tensor, "batch queries query_dim"]:
        """Each query's answer from the tokens of the context that the mask allows; without a mask, from all.

        Without a context x attends to itself. What a masked token holds has no influence, as long as it and its scores
        are finite. A query with nothing to attend gets zeros for the heads' answers, so that to_out's bias comes out,
        and its gradients are finite (zero, for everything in front of to_out).

        Raises ValueError if the context is missing although query_dim and context_dim differ, or if the mask is not
        boolean or has neither of the two shapes.
        """
        raise NotImplementedError("cross_attention.CrossAttention.forward: write me")
