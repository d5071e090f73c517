"""Everything in numpy, float64, row after row: a step is some microseconds of plain code on the host. Only the copies in and
out are torch's."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
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


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def min_p_row(z, min_p):
    return np.where(np.exp(z - z.max()) >= min_p, z, -np.inf)


def typical_row(z, mass):
    p = softmax(z)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = -(z - z.max()) + np.log(np.exp(z - z.max()).sum())
        entropy = np.nansum(np.where(p > 0, p * information, 0))
    order = np.argsort(np.abs(information - entropy), kind="stable")
    count = min(np.searchsorted(np.cumsum(p[order]), mass) + 1, len(z))
    out = np.full_like(z, -np.inf)
    out[order[:count]] = z[order[:count]]
    return out


def by_row(logits, change):
    flat = logits.detach().double().reshape(-1, logits.shape[-1]).numpy()
    out = torch.from_numpy(np.stack([change(row) for row in flat])).to(logits.dtype)
    return out.reshape(logits.shape)


def min_p_filter(logits, min_p):
    if not 0 <= min_p <= 1:
        raise ValueError("min_p")
    return by_row(logits, lambda z: min_p_row(z, min_p))


def typical_filter(logits, mass):
    if not 0 < mass <= 1:
        raise ValueError("mass")
    return by_row(logits, lambda z: typical_row(z, mass))


def process_row(z, prompt, new, p):
    z = z.copy()
    banned = list(p.banned)
    if p.eos_token is not None and len(new) < p.min_new_tokens:
        banned += [p.eos_token]
    seen = set(prompt) | set(new) if p.repetition_penalty != 1 else set()
    if any(not 0 <= token < len(z) for token in [*banned, *seen, *p.bias]):
        raise ValueError("a token outside the vocabulary")
    for token in seen:
        z[token] *= p.repetition_penalty if z[token] < 0 else 1 / p.repetition_penalty
    for token, bias in p.bias.items():
        z[token] += bias
    z[banned] = -math.inf
    if banned and z.max() == -math.inf:
        raise ValueError("everything is banned")
    if p.temperature == 0:
        best = z.argmax()
        return np.where(np.arange(len(z)) == best, z, -np.inf)
    z = z / p.temperature
    if 0 < p.top_k < len(z):
        z = np.where(z >= np.sort(z)[-p.top_k], z, -np.inf)
    if p.top_p < 1:
        probs = softmax(z)
        order = np.argsort(-probs, kind="stable")
        z[order[np.searchsorted(np.cumsum(probs[order]), p.top_p) + 1 :]] = -np.inf
    if p.min_p > 0:
        z = min_p_row(z, p.min_p)
    if p.typical_p < 1:
        z = typical_row(z, p.typical_p)
    return z


def process_logits(logits, prompts, generated, params):
    if not len(logits) == len(prompts) == len(generated) == len(params):
        raise ValueError("lengths")
    rest = iter(zip(prompts, generated, params, strict=True))
    return by_row(logits, lambda z: process_row(z, *next(rest)))
