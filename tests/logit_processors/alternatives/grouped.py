"""Rows with equal parameters are one group, and each group goes through plain filters with numbers. On log-probabilities,
whose filters keep the same sets; the kept logits are then taken from the scaled ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch


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


def _keep_mass(values, probs, mass):
    """Keeps tokens in ascending order of `values` until they have the mass; the crossing one by a shifted mask."""
    order = torch.sort(values, dim=-1, stable=True).indices
    full = torch.cumsum(torch.gather(probs, -1, order), -1) >= mass
    drop = torch.cat([torch.zeros_like(full[..., :1]), full[..., :-1]], -1)
    return ~torch.zeros_like(drop).scatter_(-1, order, drop)


def _typical(log_probs, mass):
    probs = log_probs.exp()
    entropy = -torch.where(probs > 0, probs * log_probs, 0.0).sum(-1, keepdim=True)
    return _keep_mass(torch.abs(-log_probs - entropy), probs, mass)


def min_p_filter(logits, min_p):
    if not 0 <= min_p <= 1:
        raise ValueError("0 <= min_p <= 1 is needed")
    probs = torch.softmax(logits.float(), -1)
    return logits.masked_fill(probs < min_p * probs.amax(-1, keepdim=True), float("-inf"))


def typical_filter(logits, mass):
    if not 0 < mass <= 1:
        raise ValueError("0 < mass <= 1 is needed")
    return logits.masked_fill(~_typical(torch.log_softmax(logits.float(), -1), mass), float("-inf"))


def _edit(scores, rows, requests):
    """Penalties, biases and bans of a group, whose rows share their parameters."""
    p = requests[0][2]
    vocab = scores.shape[-1]

    def checked(tokens):
        if any(t < 0 or t >= vocab for t in tokens):
            raise ValueError("token outside the vocabulary")
        return list(tokens)

    if p.repetition_penalty != 1.0:
        pairs = [(row, t) for row, (prompt, new, _) in enumerate(requests) for t in checked({*prompt, *new})]
        if pairs:
            at = tuple(torch.tensor(pairs).T)
            old = scores[at]
            scores[at] = torch.where(old < 0, old * p.repetition_penalty, old / p.repetition_penalty)
    if p.bias:
        scores[:, checked(p.bias)] += torch.tensor(list(p.bias.values()), dtype=scores.dtype)
    for short in (False, True):
        banned = set(p.banned)
        if short and p.eos_token is not None:
            banned.add(p.eos_token)
        which = [row for row, r in enumerate(requests) if (len(r[1]) < p.min_new_tokens) == short]
        if banned and which:
            chosen = scores[which]
            chosen[:, checked(banned)] = float("-inf")
            scores[which] = chosen
            if torch.isneginf(chosen).all(-1).any():
                raise ValueError("nothing is left")


def _filtered(scores, p):
    if p.temperature == 0:
        best = scores.max(-1, keepdim=True)
        first = (scores == best.values).int().argmax(-1, keepdim=True)
        return torch.full_like(scores, float("-inf")).scatter(-1, first, best.values)
    if p.temperature != 1:
        scores = scores / p.temperature
    if not (p.top_k or p.top_p < 1 or p.min_p or p.typical_p < 1):
        return scores
    logs = torch.log_softmax(scores, -1)
    if 0 < p.top_k < scores.shape[-1]:
        values, tokens = logs.topk(p.top_k)
        logs = torch.full_like(logs, float("-inf")).scatter(-1, tokens, values)
    if p.top_p < 1:
        probs = torch.softmax(logs, -1)
        logs = logs.masked_fill(~_keep_mass(-probs, probs, p.top_p), float("-inf"))
    if p.min_p:
        logs = min_p_filter(logs, p.min_p)
    if p.typical_p < 1:
        logs = typical_filter(logs, p.typical_p)
    return scores.masked_fill(torch.isneginf(logs), float("-inf"))


def process_logits(logits, prompts, generated, params):
    if not (logits.shape[0] == len(prompts) == len(generated) == len(params)):
        raise ValueError("one prompt, generated list and params for each row")
    groups = {}
    for row, p in enumerate(params):
        groups.setdefault((p, tuple(sorted(p.bias.items()))), []).append(row)
    result = logits.clone()
    for rows in groups.values():
        scores = logits[rows].to(torch.promote_types(logits.dtype, torch.float32))
        requests = [(prompts[row], generated[row], params[row]) for row in rows]
        _edit(scores, rows, requests)
        result[rows] = _filtered(scores, requests[0][2]).to(logits.dtype)
    return result
