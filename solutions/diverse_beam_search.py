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


# kata: begin
class _Group:
    """The beams of one group, and what they have finished."""

    def __init__(self, start_token: int, eos_token: int, width: int, max_length: int, length_penalty: float) -> None:
        self.tokens = torch.tensor([[start_token]])  # [n, 1 + length]; one beam at first: equal beams stay equal
        self.totals = torch.zeros(1, dtype=torch.float64)  # [n]
        self.finished: list[Hypothesis] = []
        self.eos_token, self.width, self.max_length = eos_token, width, max_length
        self.length_penalty = length_penalty

    def step(self, log_probs: Float[Tensor, "n vocab"], penalty: Float[Tensor, " vocab"]) -> Int64[Tensor, " kept"]:
        """Extends the beams, chosen with the penalty; returns the new tokens of those that run on."""
        vocab = log_probs.shape[1]
        sums = self.totals[:, None] + log_probs  # [n, vocab], float64
        # Each beam has one eos, so 2W candidates hold at least W that run on.
        flat = (sums - penalty).flatten().topk(min(2 * self.width, sums.numel())).indices
        sums, parents, last = sums.flatten()[flat], flat // vocab, flat % vocab
        children = torch.cat([self.tokens[parents], last[:, None]], dim=1)  # [candidates, 1 + length]
        ended, possible = last == self.eos_token, sums > -torch.inf
        done = (ended & possible)[: self.width].nonzero().flatten()
        running = (~ended & possible).nonzero().flatten()[: self.width]
        self.finished = self.best(self.finished + self.scored(children[done], sums[done]))
        self.tokens, self.totals = children[running], sums[running]
        if len(running) and self.settled():
            self.tokens, self.totals = self.tokens[:0], self.totals[:0]
        return last[running]

    def settled(self) -> bool:
        """Whether nothing that runs can enter the list: a sum only falls, but its divisor can grow to max_length."""
        length = self.max_length if self.length_penalty > 0 else self.tokens.shape[1] - 1
        attainable = float(self.totals.max()) / length**self.length_penalty  # not always the first: it was penalised
        return len(self.finished) == self.width and self.finished[-1].score >= attainable

    def result(self) -> list[Hypothesis]:
        return self.best(self.finished + self.scored(self.tokens, self.totals))

    def scored(self, rows: Tensor, sums: Tensor) -> list[Hypothesis]:
        share = (rows.shape[1] - 1) ** self.length_penalty
        return [Hypothesis(row, total / share) for row, total in zip(rows.tolist(), sums.tolist(), strict=True)]

    def best(self, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        return sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[: self.width]


# kata: end


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
    # kata: begin
    for name, value in (("beam_width", beam_width), ("max_length", max_length), ("groups", groups)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if beam_width % groups:
        raise ValueError(f"groups must divide beam_width, got {groups} groups and {beam_width} beams")
    if not 0 <= diversity < math.inf:
        raise ValueError(f"diversity must be finite and >= 0, got {diversity}")
    width = beam_width // groups
    searches = [_Group(start_token, eos_token, width, max_length, length_penalty) for _ in range(groups)]
    for _ in range(max_length):
        running = [group for group in searches if len(group.tokens)]
        if not running:
            break
        log_probs = log_probs_fn(torch.cat([group.tokens for group in running]))  # [beams of all groups, vocab]
        counts = torch.zeros(log_probs.shape[1], dtype=torch.float64)  # anew in each step
        for group, rows in zip(running, log_probs.split([len(group.tokens) for group in running]), strict=True):
            chosen = group.step(rows, diversity * counts)
            counts += torch.bincount(chosen, minlength=len(counts))
    return [group.result() for group in searches]
    # kata: end
