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
    # kata: begin
    if not 0 < p <= 1:
        raise ValueError(f"p must lie in (0, 1], got {p}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    ordered, tokens = wide.sort(dim=-1, descending=True)
    probs = ordered.softmax(-1)
    before = probs.cumsum(-1) - probs  # the mass of all more probable tokens: 0 for the first, < p in the nucleus
    dropped = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, tokens, before >= p)  # by rank -> by token
    return logits.masked_fill(dropped, -torch.inf)
    # kata: end


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
    # kata: begin
    if not 0 < p <= 1:
        raise ValueError(f"p must lie in (0, 1], got {p}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be >= 0, got {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")
    if temperature == 0:
        return logits.argmax(-1)
    vocab = logits.shape[-1]
    k = vocab if top_k is None else min(top_k, vocab)
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    # The floor is reading the logits once; without top_k this sort costs far more: tests/top_p_sampling/alternatives/small_nucleus.py.
    best, tokens = wide.topk(k, dim=-1)  # [*batch, k], best first: already in the order in which the nucleus is filled
    # With the best at 0, z / T can only overflow to -inf, as long as float32 does not round T to 0.
    probs = torch.softmax((best - best[..., :1]) / temperature, dim=-1)
    nucleus = probs.masked_fill(probs.cumsum(-1) - probs >= p, 0.0)
    rank = torch.multinomial(nucleus.reshape(-1, k), 1, generator=generator)  # normalises; [rows, 1]
    return tokens.gather(-1, rank.view(*tokens.shape[:-1], 1)).squeeze(-1)  # ranks -> tokens, [*batch]
    # kata: end
