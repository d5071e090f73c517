"""Top-p (nucleus) sampling.

What does `top_p` do when a language model picks its next token, and how does it work together with `temperature` and
`top_k`?

The nucleus of a distribution is the smallest set of tokens whose probabilities sum to at least p: take tokens from the
most probable one downwards until their mass reaches p; the token that crosses p is the last one in. The others are
dropped (their logit becomes -inf, so their probability is exactly 0), and one token is drawn from what is left.
A sampler applies, in this order: the temperature, top-k, top-p. The masses that top-p sees are those of the
distribution at that temperature, over the k tokens that top-k has kept, summing to 1.

Rules: everything that torch offers may be called; the arguments are never modified. Each row of a batch has a nucleus
of its own. A row may hold -inf (banned tokens), but never only -inf. Both conventions are right wherever they differ:
at a mass of exactly p, for a token whose probability is lost in the rounding of the sum (at p = 1), and among equal
logits at the edge of the nucleus or of the top k, of which all may stay or just enough.

Stage 1: one distribution.  Stage 2: batches, limits, temperature and top-k, bad values.  Stage 3: huge and banned
logits, half precision, generators.  Stage 4: a full sort is fine, but the number of operators grows neither with the
batch nor with the vocabulary, and [4, 4096] logits cost at most 500 times their bytes.

Source: Holtzman et al., "The Curious Case of Neural Text Degeneration" (2020).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def top_p_filter(logits: Float[Tensor, "*batch vocab"], p: float) -> Float[Tensor, "*batch vocab"]:
    """The logits with everything outside each row's nucleus set to -inf; the kept ones stay as they are.

    The nucleus is never empty, in no floating dtype and however small p is (as long as p is not 0 in that dtype); p = 1
    filters nothing, but for tokens lost in rounding. The result is new, of the same shape, dtype and device. Raises
    ValueError unless 0 < p <= 1.
    """
    raise NotImplementedError("top_p_sampling.top_p_filter: write me")


def sample_top_p(
    logits: Float[Tensor, "*batch vocab"],
    p: float,
    temperature: float = 1.0,
    top_k: int | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "*batch"]:
    """One token per row: softmax of logits / temperature, of that the top k, of that the nucleus, and one draw from it.

    Temperature 0 is greedy: the largest logit, the lowest index among equals. top_k None, or >= vocab, filters nothing.
    Logits up to +-3e4 are fine in any floating dtype, at temperatures down to 1e-3. With a `generator`, nothing else is
    a source of randomness. Raises ValueError unless 0 < p <= 1, or if the temperature is negative or NaN, or top_k < 1.
    """
    raise NotImplementedError("top_p_sampling.sample_top_p: write me")
