"""transformers' processors, in the order of this kata: its generate() has the bias before the penalty. Rows that share their
parameters and lengths go through together, in float32 at least, as generate() does it; checks and the greedy case are the caller's."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from transformers import (
    LogitsProcessorList,
    MinNewTokensLengthLogitsProcessor,
    MinPLogitsWarper,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)


@dataclass(frozen=True)
class SamplingParams:
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    bias: Mapping[int, float] = field(default_factory=dict, hash=False)
    banned: frozenset[int] = frozenset()
    eos_token: int | None = None
    min_new_tokens: int = 0


def wide(logits):
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def warped(warper, logits):
    flat = wide(logits).reshape(-1, logits.shape[-1])
    return warper(None, flat).reshape(logits.shape).to(logits.dtype, copy=True)


def min_p_filter(logits, min_p):
    if not 0 <= min_p <= 1:
        raise ValueError("0 <= min_p <= 1 is needed")
    return warped(MinPLogitsWarper(min_p=float(min_p)), logits)


def typical_filter(logits, mass):
    if not 0 < mass <= 1:
        raise ValueError("0 < mass <= 1 is needed")
    return logits.clone() if mass == 1 else warped(TypicalLogitsWarper(mass=mass), logits)


def processors(p, prompt_length):
    """The processors and the warpers of one group of rows."""
    first, then = LogitsProcessorList(), LogitsProcessorList()
    if p.repetition_penalty != 1:
        first.append(RepetitionPenaltyLogitsProcessor(penalty=float(p.repetition_penalty)))
    if p.bias:
        first.append(SequenceBiasLogitsProcessor({(token,): float(value) for token, value in p.bias.items()}))
    if p.banned:
        first.append(NoBadWordsLogitsProcessor([[token] for token in p.banned]))
    if p.eos_token is not None and p.min_new_tokens:
        first.append(MinNewTokensLengthLogitsProcessor(prompt_length, p.min_new_tokens, p.eos_token))
    if p.temperature not in (0, 1):
        then.append(TemperatureLogitsWarper(float(p.temperature)))
    if p.top_k:
        then.append(TopKLogitsWarper(p.top_k))
    if p.top_p < 1:
        then.append(TopPLogitsWarper(p.top_p))
    if p.min_p:
        then.append(MinPLogitsWarper(p.min_p))
    if p.typical_p < 1:
        then.append(TypicalLogitsWarper(p.typical_p))
    return first, then


def check(row, vocab, prompt, new, p):
    tokens = [*p.bias, *p.banned]
    tokens += [*prompt, *new] if p.repetition_penalty != 1 else []
    tokens += [p.eos_token] if p.eos_token is not None and len(new) < p.min_new_tokens else []
    if any(not 0 <= token < vocab for token in tokens):
        raise ValueError(f"row {row} names a token outside the vocabulary")


def process_logits(logits, prompts, generated, params):
    if not len(logits) == len(prompts) == len(generated) == len(params):
        raise ValueError("one prompt, generated list and params for each row")
    result, groups = logits.clone(), {}
    for row, (prompt, new, p) in enumerate(zip(prompts, generated, params, strict=True)):
        check(row, logits.shape[-1], prompt, new, p)
        groups.setdefault((p, tuple(p.bias.items()), len(prompt), len(new)), []).append(row)
    for (p, _, prompt_length, _), rows in groups.items():
        first, then = processors(p, prompt_length)
        tokens = torch.tensor([[*prompts[row], *generated[row]] for row in rows], dtype=torch.long)
        scores = first(tokens, wide(logits[rows]))
        if p.temperature == 0:
            best = scores.argmax(-1, keepdim=True)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, best, scores.gather(-1, best))
        if scores.isneginf().all(-1).any():
            raise ValueError("the bans leave nothing")
        result[rows] = then(tokens, scores).to(logits.dtype)
    return result
