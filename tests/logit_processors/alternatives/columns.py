"""All parameters as columns [batch, 1] over the whole batch, with dense masks; a neutral value switches a row off, and a step
runs if some row uses it. Rows that do not are put back by torch.where. Ties at the edge of typical all stay."""

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


def min_p_filter(logits, min_p):
    if math.isnan(min_p) or min_p < 0 or min_p > 1:
        raise ValueError("min_p")
    z = logits.to(torch.float64)
    floor = z.max(dim=-1, keepdim=True).values + (math.log(min_p) if min_p else -math.inf)
    return torch.where(z >= floor, logits, -torch.inf)


def typical_mask(z, mass):
    log_p = torch.log_softmax(z, dim=-1)
    information = -log_p
    entropy = (log_p.exp() * information).nansum(-1, keepdim=True)
    distance = (information - entropy).abs()
    nearest, order = distance.sort(dim=-1)
    reached = (log_p.exp().gather(-1, order).cumsum(-1) < mass).sum(-1, keepdim=True)
    return distance <= nearest.gather(-1, reached.clamp(max=z.shape[-1] - 1))


def typical_filter(logits, mass):
    if math.isnan(mass) or mass <= 0 or mass > 1:
        raise ValueError("mass")
    return torch.where(typical_mask(logits.double(), mass), logits, -torch.inf)


def process_logits(logits, prompts, generated, params):
    rows, vocab = logits.shape
    if [len(prompts), len(generated), len(params)] != [rows] * 3:
        raise ValueError("lengths")
    z = logits.double()
    seen, bias, ban = (torch.zeros(rows, vocab, dtype=torch.float64) for _ in range(3))
    pairs = {"seen": ([], [], []), "bias": ([], [], []), "ban": ([], [], [])}
    for row, p in enumerate(params):
        named = [("seen", t, 1.0) for t in {*prompts[row], *generated[row]} if p.repetition_penalty != 1]
        named += [("bias", t, value) for t, value in p.bias.items()] + [("ban", t, 1.0) for t in p.banned]
        if p.eos_token is not None and len(generated[row]) < p.min_new_tokens:
            named.append(("ban", p.eos_token, 1.0))
        for kind, token, value in named:
            if token not in range(vocab):
                raise ValueError(f"token {token}")
            for place, each in zip(pairs[kind], (row, token, value), strict=True):
                place.append(each)
    for kind, dense in (("seen", seen), ("bias", bias), ("ban", ban)):
        if pairs[kind][0]:
            at = tuple(torch.tensor(each) for each in pairs[kind][:2])
            dense[at] = torch.tensor(pairs[kind][2], dtype=torch.float64)

    def column(name):
        return torch.tensor([[float(getattr(p, name))] for p in params], dtype=torch.float64)

    if pairs["seen"][0]:
        penalty = column("repetition_penalty")
        z = torch.where(seen > 0, torch.where(z > 0, z / penalty, z * penalty), z)
    if pairs["bias"][0]:
        z = z + bias
    if pairs["ban"][0]:
        z = z.masked_fill(ban > 0, -torch.inf)
        if (z == -torch.inf).all(-1).any():
            raise ValueError("nothing left")
    if any(p.temperature != 1 for p in params):
        t = column("temperature")
        best = torch.arange(vocab) == z.argmax(-1, keepdim=True)
        z = torch.where(t == 0, z.masked_fill(~best, -torch.inf), z / t)
    if any(p.top_k for p in params):
        k = column("top_k").long()
        k = torch.where(k == 0, vocab, k).clamp(max=vocab)
        z = z.masked_fill(z < z.sort(-1, descending=True).values.gather(-1, k - 1), -torch.inf)
    if any(p.top_p < 1 for p in params):
        ordered, order = z.softmax(-1).sort(-1, descending=True)
        out = (ordered.cumsum(-1) - ordered >= column("top_p")) & (column("top_p") < 1)
        z = z.masked_fill(out.gather(-1, order.argsort(-1)), -torch.inf)
    if any(p.min_p for p in params):
        probs = z.softmax(-1)
        z = z.masked_fill(probs < column("min_p") * probs.amax(-1, keepdim=True), -torch.inf)
    if any(p.typical_p < 1 for p in params):
        mass = column("typical_p")
        z = torch.where((mass < 1) & ~typical_mask(z, mass), -torch.inf, z)
    return z.to(logits.dtype) if z.dtype != logits.dtype else z.clone()
