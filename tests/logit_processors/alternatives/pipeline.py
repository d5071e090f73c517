"""A list of processors, as libraries have it, each a class with a call; the processors of a batch are made once for each
step, and know their rows. Torch's Categorical tells entropy and probabilities."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch.distributions import Categorical


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


class Step:
    """Applies `change` to the rows whose parameter is on."""

    def __init__(self, params, name, on):
        chosen = [(row, getattr(p, name)) for row, p in enumerate(params) if on(getattr(p, name))]
        self.rows = torch.tensor([row for row, _ in chosen], dtype=torch.long)
        self.values = torch.tensor([value for _, value in chosen], dtype=torch.float64).unsqueeze(-1)

    def __call__(self, logits):
        if not len(self.rows):
            return logits
        return logits.index_copy(0, self.rows, self.change(logits.index_select(0, self.rows)))


class Temperature(Step):
    def change(self, z):
        return z / self.values


class Greedy(Step):
    def change(self, z):
        best = z.argmax(-1, keepdim=True)
        return torch.full_like(z, -math.inf).scatter(-1, best, z.gather(-1, best))


class TopK(Step):
    def change(self, z):
        rank = z.argsort(-1, descending=True).argsort(-1)
        return z.masked_fill(rank >= self.values, -math.inf)


class TopP(Step):
    def change(self, z):
        ordered, order = z.sort(-1)
        tail = ordered.softmax(-1).cumsum(-1) <= 1 - self.values
        tail[:, -1] = False
        return z.masked_fill(torch.zeros_like(tail).scatter(-1, order, tail), -math.inf)


class MinP(Step):
    def change(self, z):
        return z.masked_fill(z - z.amax(-1, keepdim=True) < self.values.log(), -math.inf)


class Typical(Step):
    def change(self, z):
        return z.masked_fill(~typical(z, self.values), -math.inf)


def typical(z, mass):
    model = Categorical(logits=z, validate_args=False)
    probs = model.probs
    surprise = -(z - z.logsumexp(-1, keepdim=True))
    entropy = torch.where(probs > 0, probs * surprise, 0.0).sum(-1, keepdim=True)
    order = (surprise - entropy).abs().argsort(-1)
    mass_with = probs.gather(-1, order).cumsum(-1)
    needed = (mass_with < mass).sum(-1, keepdim=True)  # and the one that crosses
    return order.argsort(-1) <= needed


def min_p_filter(logits, min_p):
    if not 0 <= min_p <= 1:
        raise ValueError("min_p")
    distance = logits.double() - logits.double().amax(-1, keepdim=True)
    return logits.masked_fill(distance < (math.log(min_p) if min_p > 0 else -math.inf), -math.inf)


def typical_filter(logits, mass):
    if not 0 < mass <= 1:
        raise ValueError("mass")
    return logits.masked_fill(~typical(logits.double(), mass), -math.inf)


def token_index(rows, vocab):
    """Row and token of each pair in lists of tokens."""
    for tokens in rows:
        if tokens and not (min(tokens) >= 0 and max(tokens) < vocab):
            raise ValueError("token outside the vocabulary")
    owners = torch.tensor([row for row, tokens in enumerate(rows) for _ in tokens], dtype=torch.long)
    return owners, torch.tensor([token for tokens in rows for token in tokens], dtype=torch.long)


def process_logits(logits, prompts, generated, params):
    batch, vocab = logits.shape
    if any(len(each) != batch for each in (prompts, generated, params)):
        raise ValueError("lengths")
    z = logits.double().clone()
    seen = [
        sorted(set(a) | set(b)) if p.repetition_penalty != 1 else []
        for a, b, p in zip(prompts, generated, params, strict=True)
    ]
    rows, tokens = token_index(seen, vocab)
    penalty = torch.tensor([p.repetition_penalty for p in params], dtype=torch.float64)[rows]
    old = z[rows, tokens]
    z[rows, tokens] = old * torch.where(old > 0, 1 / penalty, penalty)
    rows, tokens = token_index([list(p.bias) for p in params], vocab)
    z[rows, tokens] += torch.tensor([value for p in params for value in p.bias.values()], dtype=torch.float64)
    bans = [
        [*p.banned] + [p.eos_token] * (p.eos_token is not None and p.min_new_tokens > len(new))
        for p, new in zip(params, generated, strict=True)
    ]
    z[token_index(bans, vocab)] = -math.inf
    if sum(map(len, bans)) and z.isneginf().all(-1).any():
        raise ValueError("nothing left")
    for step in (
        Temperature(params, "temperature", lambda t: t > 0 and t != 1),
        Greedy(params, "temperature", lambda t: t == 0),
        TopK(params, "top_k", lambda k: k > 0),
        TopP(params, "top_p", lambda p: p < 1),
        MinP(params, "min_p", lambda m: m > 0),
        Typical(params, "typical_p", lambda m: m < 1),
    ):
        z = step(z)
    return z.to(logits.dtype, copy=True)
