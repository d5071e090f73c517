"""Logit processors.

Min-p, typical sampling, bans, biases and a minimum length, for each request its own: write the chain that an inference
server runs on a batch of logits before it draws the next tokens. Does the order matter?

With p = softmax(z) and the entropy H = -sum_j p_j log p_j, in nats:
  - min-p keeps the tokens that are at least min_p times as probable as the best one: p_i >= min_p * max_j p_j;
  - typical sampling keeps the smallest set whose probabilities sum to at least `mass`: take the tokens by their distance
    |-log p_i - H|, nearest first; the token that crosses `mass` is the last one in. The best token may be out.
The logit of a dropped token becomes -inf, exactly. The logit of a kept one stays as it is.

process_logits takes these steps in this order; libraries differ in it, and in what comes out. Each sees only what the
steps before have left:
  1. repetition penalty r: z / r where z is positive, z * r where it is negative, once for each token that stands in the
     row's prompt or in what it has generated, however often;
  2. bias: added to the logits of its tokens;
  3. bans: `banned` becomes -inf, and so does `eos_token` while fewer than `min_new_tokens` tokens were generated;
  4. temperature T: z / T. T = 0 is greedy: the largest logit (the lowest index among equals) stays as it is, and all
     others become -inf;
  5. top-k: the k largest;  6. top-p: the smallest set of the most probable tokens whose mass reaches p, the crossing one
     included;  7. min-p;  8. typical.

Rules: everything that torch offers may be called; no argument is modified, and every result is new. No filter leaves a
row empty. A row may hold -inf, but never only -inf. Both conventions are right wherever they differ: at a mass of
exactly p, for a token whose probability is lost in the rounding of a sum, and among equals at the edge of top-k, top-p
or typical, of which all may stay or just enough.

Stage 1: min-p and typical.  Stage 2: one row through the chain, bad values.  Stage 3: rows with different parameters,
-inf, half precision.  Stage 4: a step that no row uses costs nothing: by default [4, 4096] logits cost at most 16
times their bytes, and with every step at most 1000 times. Where all rows have the same parameters, the number of operators
does not grow with the batch.

Sources: Nguyen et al., "Turning Up the Heat: Min-p Sampling" (2024); Meister et al., "Locally Typical Sampling" (2022);
Keskar et al., "CTRL" (2019), for the penalty.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class SamplingParams:
    """Given. What one request asks for; its defaults change nothing. Values out of range are refused here."""

    temperature: float = 1.0
    top_k: int = 0  # 0 is off
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    bias: Mapping[int, float] = field(default_factory=dict, hash=False)  # token -> what is added to its logit
    banned: frozenset[int] = frozenset()
    eos_token: int | None = None
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        masses = 0 < self.top_p <= 1 and 0 < self.typical_p <= 1 and 0 <= self.min_p <= 1
        if not (masses and self.temperature >= 0 and self.top_k >= 0 and self.repetition_penalty > 0):
            raise ValueError(f"a sampling parameter is out of range: {self}")


# kata: begin
Column = Float[Tensor, "*batch 1"]
Dropped = Bool[Tensor, "*batch vocab"]


def _outside(distance: Tensor, probs: Tensor, mass: float | Column) -> Dropped:
    """All but the tokens of the smallest distances that reach `mass` together."""
    order = distance.argsort(-1)
    nearest = probs.gather(-1, order)
    before = nearest.cumsum(-1) - nearest  # the mass of all nearer tokens: 0 for the first, so it always stays
    return torch.zeros_like(distance, dtype=torch.bool).scatter(-1, order, before >= mass)  # by rank -> by token


def _below_min_p(logits: Tensor, min_p: float | Column) -> Dropped:
    # p / max p = exp(z - max z): no normalisation is needed, and nothing overflows.
    return (logits - logits.amax(-1, keepdim=True)).exp() < min_p


def _not_typical(logits: Tensor, mass: float | Column) -> Dropped:
    log_probs = logits.log_softmax(-1)
    probs = log_probs.exp()
    entropy = torch.special.entr(probs).sum(-1, keepdim=True)  # entr(0) is 0; 0 * log 0 would be NaN
    return _outside((log_probs + entropy).abs(), probs, mass)


def _not_top_p(logits: Tensor, p: Column) -> Dropped:
    return _outside(-logits, logits.softmax(-1), p)


def _not_top_k(logits: Tensor, k: Column) -> Dropped:
    ranks = k.long().clamp(max=logits.shape[-1]) - 1  # [rows, 1]
    return logits < logits.topk(int(ranks.max()) + 1).values.gather(-1, ranks)


def _not_best(logits: Tensor, _: Column) -> Dropped:
    return torch.ones_like(logits, dtype=torch.bool).scatter(-1, logits.argmax(-1, keepdim=True), False)


def _widened(logits: Tensor) -> Tensor:
    """The logits in float32 at least: a softmax or a sum of many probabilities in half precision is too coarse."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


# kata: end


def min_p_filter(logits: Float[Tensor, "*batch vocab"], min_p: float) -> Float[Tensor, "*batch vocab"]:
    """The logits, with -inf for every token less than `min_p` times as probable as the row's best one.

    0 keeps all, 1 keeps the best and its equals. Logits up to +-3e4 are fine in any floating dtype. The result keeps
    shape, dtype and device. Raises ValueError unless 0 <= min_p <= 1.
    """
    # kata: begin
    if not 0 <= min_p <= 1:
        raise ValueError(f"min_p must lie in [0, 1], got {min_p}")
    return logits.masked_fill(_below_min_p(_widened(logits), min_p), -torch.inf)
    # kata: end


def typical_filter(logits: Float[Tensor, "*batch vocab"], mass: float) -> Float[Tensor, "*batch vocab"]:
    """The logits, with -inf outside each row's smallest set of typical tokens that reaches `mass`.

    A mass of 1 keeps all. Logits up to +-3e4 are fine in any floating dtype, and so are rows with -inf; probabilities
    are summed in float32 at least. The result keeps shape, dtype and device. Raises ValueError unless 0 < mass <= 1.
    """
    # kata: begin
    if not 0 < mass <= 1:
        raise ValueError(f"mass must lie in (0, 1], got {mass}")
    return logits.masked_fill(_not_typical(_widened(logits), mass), -torch.inf)
    # kata: end


def process_logits(
    logits: Float[Tensor, "batch vocab"],
    prompts: Sequence[Sequence[int]],
    generated: Sequence[Sequence[int]],
    params: Sequence[SamplingParams],
) -> Float[Tensor, "batch vocab"]:
    """The logits of each row after all steps, with the row's own parameters, prompt and generated tokens.

    A row with default parameters comes out as it went in, bit for bit. top_k >= vocab filters nothing. In half
    precision, probabilities are computed and summed in float32 at least. The dtype is kept. Raises ValueError if the
    lists are not as long as the batch, if a token that a step uses lies outside [0, vocab), or if the bans leave a row
    nothing.
    """
    # kata: begin
    batch, vocab = logits.shape
    if not len(prompts) == len(generated) == len(params) == batch:
        lengths = len(prompts), len(generated), len(params)
        raise ValueError(f"{batch} rows need as many prompts, generated lists and params, got {lengths}")
    scores = _widened(logits).clone()

    def places(values: Sequence[Mapping[int, float]]) -> tuple[tuple[Tensor, ...], Tensor]:
        """The index (rows, tokens) of all tokens that have a value in their row, and these values."""
        entries = [(row, token, value) for row, of_row in enumerate(values) for token, value in of_row.items()]
        for row, token, _ in entries:
            if not 0 <= token < vocab:
                raise ValueError(f"row {row} names token {token}, but the vocabulary has {vocab} tokens")
        index = torch.tensor([entry[:2] for entry in entries], dtype=torch.int64, device=logits.device)
        return index.reshape(-1, 2).unbind(-1), scores.new_tensor([value for *_, value in entries])

    def column(values: Mapping[int, float]) -> Column:
        return scores.new_tensor(list(values.values()))[:, None]  # [rows, 1]

    def drop(dropped: Callable[[Tensor, Column], Dropped], values: Mapping[int, float]) -> None:
        """Sets to -inf what `dropped` marks, in the rows that have a value, and in all of them at once."""
        if values:
            rows = list(values)
            scores[rows] = scores[rows].masked_fill(dropped(scores[rows], column(values)), -torch.inf)

    penalties, bans = [], []  # of each row, token -> value
    for prompt, new, p in zip(prompts, generated, params, strict=True):
        penalties.append(dict.fromkeys([*prompt, *new] if p.repetition_penalty != 1 else [], p.repetition_penalty))
        early = [p.eos_token] if p.eos_token is not None and len(new) < p.min_new_tokens else []
        bans.append(dict.fromkeys([*p.banned, *early], -torch.inf))
    seen, penalty = places(penalties)
    scores[seen] = torch.where(scores[seen] > 0, scores[seen] / penalty, scores[seen] * penalty)
    biased, bias = places([p.bias for p in params])
    scores[biased] += bias
    banned, never = places(bans)
    scores[banned] = never
    # Looking costs a pass, and on a GPU a wait: only where something was banned.
    if any(bans) and scores.amax(-1).isneginf().any():
        raise ValueError("the bans of a row leave no token")

    if warm := {row: p.temperature for row, p in enumerate(params) if p.temperature not in (0, 1)}:
        scores[list(warm)] /= column(warm)
    drop(_not_best, {row: 0 for row, p in enumerate(params) if p.temperature == 0})
    drop(_not_top_k, {row: p.top_k for row, p in enumerate(params) if p.top_k > 0})
    drop(_not_top_p, {row: p.top_p for row, p in enumerate(params) if p.top_p < 1})
    drop(_below_min_p, {row: p.min_p for row, p in enumerate(params) if p.min_p > 0})
    drop(_not_typical, {row: p.typical_p for row, p in enumerate(params) if p.typical_p < 1})
    return scores.to(logits.dtype)
    # kata: end
