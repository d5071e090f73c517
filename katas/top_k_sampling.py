"""Top-k sampling.

What does `top_k` do when a language model picks its next token, and how would you sample with it from a real
vocabulary of 128 256 tokens without wasting memory traffic?

Keep the k largest logits, drop the rest (their logit becomes -inf, so their probability is exactly 0), and sample
from the softmax of what is left: p_i = exp(z_i / T) / sum_{j in top k} exp(z_j / T), with the temperature T.

Rules: everything that torch offers may be called; the arguments are never modified. Where several logits equal the
k-th largest, keeping all of them and keeping just enough of them are both right. Each row of a batch is filtered and
sampled on its own. A row may hold -inf (tokens that something else has banned), but never only -inf.

Stage 1: one distribution.  Stage 2: batches, ties, k and T at their limits.  Stage 3: huge and banned logits, half
precision, generators.  Stage 4: for [8, 128256] logits `sample_top_k` reads and writes at most 4 times the bytes of
the logits, and the number of operators does not grow with the batch.

Source: Fan, Lewis and Dauphin, "Hierarchical Neural Story Generation" (2018).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def top_k_filter(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    """The logits with all but the k largest of each row set to -inf; the kept ones stay as they are.

    k >= vocab filters nothing. The result is new, of the same shape, dtype and device. Gradients reach the kept logits.
    Raises ValueError if k < 1.
    """
    raise NotImplementedError("top_k_sampling.top_k_filter: write me")


def sample_top_k(
    logits: Float[Tensor, "*batch vocab"],
    k: int,
    temperature: float = 1.0,
    *,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "*batch"]:
    """One token per row, drawn from the softmax of the row's k largest logits divided by the temperature.

    Temperature 0 is greedy: the largest logit, the lowest index among equals. k >= vocab is plain sampling.
    Logits up to +-3e4 are fine in any floating dtype, at temperatures from 1e-3 to 1e6, and so are logits that require a
    gradient. With a `generator`, nothing else is a source of randomness. Raises ValueError if k < 1 or if the temperature
    is negative or NaN.
    """
    raise NotImplementedError("top_k_sampling.sample_top_k: write me")
