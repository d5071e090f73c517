"""Repetition control.

Your model repeats itself. What do `repetition_penalty`, `frequency_penalty`, `presence_penalty` and
`no_repeat_ngram_size` do to the logits before the next token is picked?

For each row of a batch, `tokens` is what has been generated so far, and the logits z are those of the next token:
  - repetition penalty r (after CTRL): for every token seen, z / r where z is positive, z * r where it is negative;
  - frequency and presence penalties: z - frequency * (times seen) - presence * (1 if seen, else 0);
  - blocking n-grams: a token that would complete an n-gram which the row already contains gets -inf.
All three work on logits, not on probabilities, and are to be applied before temperature and softmax.

Rules: everything that torch offers may be called; the arguments are never modified, and every result is a new tensor
in the dtype of the logits. Each row has a history of its own. The history may be empty (length 0); all
tokens lie in [0, vocab). A logit may be -inf (a banned token), and stays so.

Stage 1: the three rules.  Stage 2: batches, repeated and overlapping tokens, short histories, bad values.  Stage 3: half
precision, banned tokens, strides.  Stage 4: nothing of shape [batch, length, vocab] is built, at once or in pieces: for
[2, 4096] logits and 256 tokens a row, all tensors allocated on the way take at most 100 times the bytes of the arguments.
Python loops over rows or tokens are allowed.

Sources: Keskar et al., "CTRL: A Conditional Transformer Language Model for Controllable Generation" (2019), for the
repetition penalty; Paulus, Xiong and Socher, "A Deep Reinforced Model for Abstractive Summarization" (2017), for n-grams.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def repetition_penalty(
    logits: Float[Tensor, "batch vocab"], tokens: Int64[Tensor, "batch length"], penalty: float
) -> Float[Tensor, "batch vocab"]:
    """The logits, with those of the tokens seen divided by `penalty` if positive and multiplied by it if negative.

    A token counts once, however often it was seen. A penalty above 1 discourages, below 1 encourages, 1 does nothing.
    Raises ValueError unless penalty > 0.
    """
    raise NotImplementedError("repetition_control.repetition_penalty: write me")


def frequency_presence_penalty(
    logits: Float[Tensor, "batch vocab"], tokens: Int64[Tensor, "batch length"], frequency: float, presence: float
) -> Float[Tensor, "batch vocab"]:
    """The logits minus `frequency` for each time a token was seen, minus `presence` once if it was seen at all.

    Both may be negative, which encourages repetition. Counts are exact: neither bfloat16, whose steps beyond 256 are 2,
    nor float16 can count far enough.
    """
    raise NotImplementedError("repetition_control.frequency_presence_penalty: write me")


def block_repeated_ngrams(
    logits: Float[Tensor, "batch vocab"], tokens: Int64[Tensor, "batch length"], n: int
) -> Float[Tensor, "batch vocab"]:
    """The logits, with -inf for every token whose appending would end the row in an n-gram that it already contains.

    The two occurrences may overlap: after [5, 5], n = 2 bans 5. n = 1 bans every token seen. A history shorter than n
    contains no n-gram and bans nothing. Raises ValueError if n < 1.
    """
    raise NotImplementedError("repetition_control.block_repeated_ngrams: write me")
