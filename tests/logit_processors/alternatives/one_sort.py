"""Sorts once for top-k, top-p and min-p: each keeps a prefix of the sorted row, so the smallest count wins. Typical needs no
sort by distance either: in sorted order its set is a window, and the radius that fills it is bisected."""

import math
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


def _radius_mask(log_p, mass):
    """The smallest radius around the entropy that holds the mass, by bisection over the floats between two distances."""
    p = log_p.exp()
    entropy = torch.special.entr(p).sum(-1, keepdim=True)
    distance = (log_p + entropy).abs()
    low = torch.full_like(entropy, -1.0)
    high = distance.masked_fill(distance.isinf(), -1.0).amax(-1, keepdim=True)
    for _ in range(45):
        middle = (low + high) / 2
        enough = torch.where(distance <= middle, p, 0.0).sum(-1, keepdim=True) >= mass
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    return distance <= high


def min_p_filter(logits, min_p):
    if not (min_p >= 0 and min_p <= 1):
        raise ValueError(min_p)
    relative = torch.exp(logits.double() - logits.double().amax(-1, keepdim=True))
    out = logits.clone()
    out[relative < min_p] = -math.inf
    return out


def typical_filter(logits, mass):
    if not (mass > 0 and mass <= 1):
        raise ValueError(mass)
    return logits.where(_radius_mask(logits.double().log_softmax(-1), mass), -math.inf)


def _check(tokens, vocab):
    for token in tokens:
        if token < 0 or token >= vocab:
            raise ValueError(f"no token {token}")


def process_logits(logits, prompts, generated, params):
    batch, vocab = logits.shape
    if {len(prompts), len(generated), len(params)} != {batch}:
        raise ValueError("lengths")
    z = logits.to(torch.float64, copy=True)
    factors, shifts = [], []
    for row, (prompt, new, p) in enumerate(zip(prompts, generated, params, strict=True)):
        gone = set(p.banned) | ({p.eos_token} if len(new) < p.min_new_tokens else set()) - {None}
        seen = set(prompt).union(new) if p.repetition_penalty != 1 else set()
        _check([*gone, *seen, *p.bias], vocab)
        factors += [(row, token, p.repetition_penalty) for token in seen]
        shifts += [(row, token, -math.inf if token in gone else p.bias[token]) for token in {*gone, *p.bias}]
    if factors:
        rows, tokens, values = (torch.tensor(each) for each in zip(*factors, strict=True))
        old = z[rows, tokens]
        z[rows, tokens] = torch.where(old > 0, old / values.double(), old * values.double())
    if shifts:
        rows, tokens, values = zip(*shifts, strict=True)
        z.index_put_((torch.tensor(rows), torch.tensor(tokens)), torch.tensor(values, dtype=z.dtype), accumulate=True)
        if torch.isneginf(z.amax(-1)).any():
            raise ValueError("no token is left")
    if any(p.temperature != 1 for p in params):
        z = z / torch.tensor([p.temperature or 1.0 for p in params], dtype=z.dtype)[:, None]
    if any(p.temperature == 0 or p.top_k or p.top_p < 1 or p.min_p for p in params):
        ordered, order = z.sort(dim=-1, descending=True, stable=True)  # the lowest index first among equals
        counts = [1 if p.temperature == 0 else p.top_k or vocab for p in params]
        count = torch.tensor(counts)[:, None].clamp(max=vocab)
        ranks = torch.arange(vocab).expand(batch, vocab)
        if any(p.top_p < 1 for p in params):
            probs = ordered.masked_fill(ranks >= count, -math.inf).softmax(-1)
            limit = torch.tensor([[p.top_p if p.top_p < 1 else 2.0] for p in params], dtype=z.dtype)
            count = torch.minimum(count, 1 + (probs.cumsum(-1) < limit).sum(-1, keepdim=True))
        if any(p.min_p for p in params):
            least = torch.tensor([[p.min_p] for p in params], dtype=z.dtype)
            count = torch.minimum(count, ((ordered - ordered[:, :1]).exp() >= least).sum(-1, keepdim=True))
        z = z.masked_fill(torch.empty_like(order).scatter(-1, order, ranks) >= count, -math.inf)
    if any(p.typical_p < 1 for p in params):
        mass = torch.tensor([[p.typical_p] for p in params], dtype=z.dtype)
        z = z.masked_fill((mass < 1) & ~_radius_mask(z.log_softmax(-1), mass), -math.inf)
    return z.to(logits.dtype, copy=True)
