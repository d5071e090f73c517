"""Diverse beam search.

The hypotheses of a beam search differ in a word or two. How do you make it return really different ones, without
sampling? Split the beams into groups and let each group keep away from what the groups before it choose.

Each group runs a beam search of its own with W = beam_width / groups beams. In every step the groups choose one after
the other, and group g picks its children by
    sum of log-probabilities - diversity * count(token),
where count(token) says how many beams of groups 0 .. g-1 took that token in this very step (Hamming diversity). The
penalty only chooses: the sums that are carried on, compared in the end and reported hold log-probabilities alone. And
length_penalty plays no part in this choice, only in the score of the final comparison:
    score = sum / (number of generated tokens) ** length_penalty
where eos counts as generated and the start token does not.

Rules: everything that torch offers may be called. No token follows eos, and a finished hypothesis counts no more in
later steps. Hypotheses unfinished after `max_length` generated tokens compete in their group like finished ones. Free:
whether a group keeps W candidates or looks at 2W so that others move up where one finished, whether the eos that ends
a hypothesis counts in its own step, and whether a group whose list is settled goes on counting. Giving up on a
running hypothesis while it could still enter its group's list is wrong. There are no ties.

Stage 1: the choice of one step, groups in order.  Stage 2: more groups, early ends, length penalty, bad values.
Stage 3: banned tokens, half precision.  Stage 4: one call of the model per step for the beams of all groups.

Source: Vijayakumar et al., "Diverse Beam Search: Decoding Diverse Solutions from Neural Sequence Models" (2016).
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

LogProbsFn = Callable[[Int64[Tensor, "beams length"]], Float[Tensor, "beams vocab"]]


class Hypothesis(NamedTuple):
    """One decoded sequence."""

    tokens: list[int]  # the start token, then what was generated, with eos where it was generated
    score: float


def diverse_beam_search(
    log_probs_fn: LogProbsFn,
    start_token: int,
    eos_token: int,
    beam_width: int,
    max_length: int,
    *,
    groups: int,
    diversity: float,
    length_penalty: float = 0.0,
) -> list[list[Hypothesis]]:
    """One list for each group, in order: at most beam_width // groups distinct hypotheses each, best score first.

    `log_probs_fn(tokens [n, length]) -> [n, vocab]` takes int64 prefixes, start token included, on torch's default
    device, and gives log-probabilities of the next token in any floating dtype. It is called once per step for the
    beams of all groups together, with at most `beam_width` rows (and at least one), and not again once nothing that
    runs could still enter a list. Sums are kept in float32 or wider; `tokens` are Python ints, the score is a float.

    A token of log-probability -inf is never generated, whatever the penalty of the others. A group may be wider than
    the vocabulary; start_token may equal eos_token. length_penalty may have any sign. Different groups may find the
    same hypothesis. Raises ValueError if beam_width, max_length or groups is below 1, if groups does not divide
    beam_width, or if diversity is negative, infinite or NaN.
    """
    raise NotImplementedError("diverse_beam_search.diverse_beam_search: write me")
