"""Temperature sampling.

What does `temperature` do when a language model picks its next token? Write the distribution, draw from it, and then
draw again without ever computing it.

The logits z are divided by T before the softmax,
    p_i = exp(z_i / T) / sum_j exp(z_j / T),
so T < 1 sharpens the distribution, T > 1 flattens it, and T = 0 stands for the limit: greedy decoding. The Gumbel-max
trick draws from the same distribution with an argmax alone: argmax_i (z_i / T + g_i), where every g_i is an independent
draw from the standard Gumbel distribution, g = -log(-log u) with u uniform on (0, 1).

Rules: everything that torch offers may be called; the arguments are never modified. Each row of a batch is on its own.
A logit of -inf (a token that something else has banned) has probability 0 at every T; no row holds only -inf.

Stage 1: one distribution, two ways to draw.  Stage 2: batches, T = 0 and other limits, bad values.  Stage 3: logits up
to +-3e4 and T from 1e-6 to 1e6, half precision, generators.  Stage 4: the number of operators grows neither with the
batch nor with the vocabulary.

Source: Maddison, Tarlow and Minka, "A* Sampling" (2014), for the Gumbel-max trick.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def temperature_probs(logits: Float[Tensor, "*batch vocab"], temperature: float) -> Float[Tensor, "*batch vocab"]:
    """The probabilities softmax(logits / temperature) of each row, in the dtype of the logits.

    Temperature 0 is one-hot: 1 at the largest logit (the lowest index among equals), 0 elsewhere.
    Only differences between logits matter: rows around +-3e4 are as good as rows around 0, at every temperature from
    1e-6 to 1e6 and in every floating dtype. Raises ValueError if the temperature is negative or NaN.
    """
    raise NotImplementedError("temperature_sampling.temperature_probs: write me")


def sample_token(
    probs: Float[Tensor, "*batch vocab"], *, generator: torch.Generator | None = None
) -> Int64[Tensor, "*batch"]:
    """One token per row, token i with probability probs[i]; a probability of 0 is never drawn.

    Each row sums to 1, up to the rounding of its dtype. With a `generator`, nothing else is a source of randomness.
    """
    raise NotImplementedError("temperature_sampling.sample_token: write me")


def gumbel_sample(
    logits: Float[Tensor, "*batch vocab"], temperature: float = 1.0, *, generator: torch.Generator | None = None
) -> Int64[Tensor, "*batch"]:
    """One token per row, drawn from softmax(logits / temperature) by the Gumbel-max trick.

    Temperature 0 is greedy: the largest logit, the lowest index among equals. Half-precision logits get their noise in
    float32 or better: in bfloat16 u is 0 once in hundreds of draws, and 3e4 + g is 3e4. Logits up to +-3e4 are fine, at
    every temperature from 1e-6 to 1e6. With a `generator`, nothing else is a source of randomness.
    Raises ValueError if the temperature is negative or NaN.
    """
    raise NotImplementedError("temperature_sampling.gumbel_sample: write me")
