"""Beam search.

How does beam search decode, when is a hypothesis finished, and what does `length_penalty` do? Write it, once on top
of a model that reads the whole prefix and once on top of one that keeps a cache.

Keep `beam_width` prefixes. At each step extend all of them by every token, add up log-probabilities, and keep the
best extensions. A hypothesis that ends in eos is finished: it is set aside and competes in the end, with
    score = (sum of the log-probabilities of its generated tokens) / (number of generated tokens) ** length_penalty
where eos counts as generated and the start token does not.

Rules: everything that torch offers may be called. No token follows eos. Hypotheses that are unfinished after
`max_length` generated tokens compete like finished ones. Free: whether a finished hypothesis takes up one of the
`beam_width` places (W candidates are kept), or others move up (2W candidates are looked at), as long as a width of 1
at penalty 0 is greedy decoding, and a width that holds every prefix finds what trying all sequences finds. Giving up
on a running hypothesis while it could still enter the list is wrong: log-probabilities are never above 0, so you know
how good it can become. There are no ties.

Stage 1: the search and the cache.  Stage 2: length penalty, early ends, limits, bad values.  Stage 3: banned tokens,
half precision.  Stage 4: one call of the model per step, and none when it cannot matter any more.

Sources: Graves, "Sequence Transduction with Recurrent Neural Networks" (2012); Wu et al., "Google's Neural Machine
Translation System" (2016), for scores that depend on the length.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.utils._pytree import tree_map

LogProbs = Float[Tensor, "beams vocab"]
LogProbsFn = Callable[[Int64[Tensor, "beams length"]], LogProbs]
StepFn = Callable[[Int64[Tensor, " beams"], Any], tuple[LogProbs, Any]]


class Hypothesis(NamedTuple):
    """One decoded sequence."""

    tokens: list[int]  # the start token, then what was generated, with eos where it was generated
    score: float


# kata: begin
def _search(
    step: Callable[[Int64[Tensor, "beams length"], Any], tuple[LogProbs, Any]],
    start_token: int,
    eos_token: int,
    beam_width: int,
    max_length: int,
    length_penalty: float,
) -> list[Hypothesis]:
    if beam_width < 1:
        raise ValueError(f"beam_width must be at least 1, got {beam_width}")
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}")

    def scored(rows: Tensor, sums: Tensor) -> list[Hypothesis]:
        share = (rows.shape[1] - 1) ** length_penalty
        return [Hypothesis(row, total / share) for row, total in zip(rows.tolist(), sums.tolist(), strict=True)]

    def best(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        return sorted(hypotheses, key=lambda hypothesis: hypothesis.score, reverse=True)[:beam_width]

    tokens = torch.tensor([[start_token]])  # [n, 1 + length]; one beam at first: equal beams would stay equal
    totals = torch.zeros(1, dtype=torch.float64)  # [n], descending
    finished: list[Hypothesis] = []
    cache = None
    for length in range(1, max_length + 1):
        # The model's calls are the floor; what is added here is one pass over n x vocab sums and 2W candidates.
        log_probs, cache = step(tokens, cache)
        sums = totals[:, None] + log_probs  # [n, vocab], float64
        # Each beam has one eos, so 2W candidates hold at least W that run on.
        sums, flat = sums.flatten().topk(min(2 * beam_width, sums.numel()))
        parents, last = flat // log_probs.shape[1], flat % log_probs.shape[1]
        children = torch.cat([tokens[parents], last[:, None]], dim=1)  # [candidates, 1 + length]
        ended, possible = last == eos_token, sums > -torch.inf
        # eos counts only among the W best candidates; further down it would beat greedy decoding at W = 1.
        done = (ended & possible)[:beam_width].nonzero().flatten()
        finished = best(finished + scored(children[done], sums[done]))
        running = (~ended & possible).nonzero().flatten()[:beam_width]
        tokens, totals = children[running], sums[running]
        if not len(running):
            return finished
        # A sum only falls; what a positive penalty divides it by can still grow to max_length.
        attainable = float(totals[0]) / (max_length if length_penalty > 0 else length) ** length_penalty
        if len(finished) == beam_width and finished[-1].score >= attainable:
            return finished
        survivors = parents[running]
        cache = tree_map(lambda leaf: leaf[survivors], cache)  # noqa: B023 (called at once)
    return best(finished + scored(tokens, totals))


# kata: end


def beam_search(
    log_probs_fn: LogProbsFn,
    start_token: int,
    eos_token: int,
    beam_width: int,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[Hypothesis]:
    """At most `beam_width` distinct hypotheses, best score first, none with more than `max_length` generated tokens.

    `log_probs_fn(tokens [n, length]) -> [n, vocab]` takes int64 prefixes, start token included, on torch's default
    device, and gives log-probabilities of the next token in any floating dtype. It is called once per step for all
    beams together, with at most `beam_width` rows (and at least one), and not again once nothing that runs could still
    enter the list. Sums are kept in float32 or wider; `tokens` are Python ints, the score is a float.

    A token of log-probability -inf is never generated. beam_width may exceed the vocabulary; start_token may equal
    eos_token (BART does that) and finishes nothing. length_penalty may have any sign: above 0 it favours long
    hypotheses, below 0 short ones. Raises ValueError if beam_width < 1 or max_length < 1.
    """
    # kata: begin
    return _search(
        lambda tokens, _: (log_probs_fn(tokens), ()),
        start_token,
        eos_token,
        beam_width,
        max_length,
        length_penalty,
    )
    # kata: end


def beam_search_with_cache(
    step_fn: StepFn,
    start_token: int,
    eos_token: int,
    beam_width: int,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[Hypothesis]:
    """The same search on a model that remembers: `step_fn(last_tokens [n], cache) -> (log_probs [n, vocab], cache)`.

    It is given only the last token of each beam. The first call gets cache=None, each later one what the call before
    it returned, with row i belonging to the beam of last_tokens[i]. A cache is a tensor whose first dimension is the
    beam, or any nesting of dicts, lists and tuples of such tensors. Everything else is as in `beam_search`.
    """
    # kata: begin
    return _search(
        lambda tokens, cache: step_fn(tokens[:, -1], cache),
        start_token,
        eos_token,
        beam_width,
        max_length,
        length_penalty,
    )
    # kata: end
