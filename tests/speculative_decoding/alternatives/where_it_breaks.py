"""First refusals by a sum of masked places; numpy's names, and a class for the round."""

import math

import torch


def _check(name, probs, shape):
    if probs.shape != shape:
        raise ValueError(f"{name} should have the shape {shape}")
    total = probs.float().sum(dim=-1)
    if not bool(torch.all(torch.abs(total - 1.0) < 0.0101)) or bool(torch.any(probs < 0)):
        raise ValueError(f"{name} should hold probabilities")


def verify(drafted, draft_probs, target_probs, *, generator=None):
    batch, gamma = drafted.size()
    vocab = target_probs.size(-1)
    _check("draft_probs", draft_probs, (batch, gamma, vocab))
    _check("target_probs", target_probs, (batch, gamma + 1, vocab))
    dtype = torch.float64 if torch.float64 in (draft_probs.dtype, target_probs.dtype) else torch.float32
    p, q = target_probs.to(dtype), draft_probs.to(dtype)
    px = torch.take_along_dim(p[:, :gamma], drafted[..., None], dim=-1).squeeze(-1)
    qx = torch.take_along_dim(q, drafted[..., None], dim=-1).squeeze(-1)
    probability = torch.where(qx > 0, px / qx, (px > 0).to(dtype)).clamp(max=1)
    u = torch.rand(drafted.shape, generator=generator, dtype=dtype)
    refusals = torch.cumsum((u >= probability).int(), dim=1)
    kept = (refusals == 0).sum(dim=1)
    everything = kept == gamma
    row = torch.arange(batch)
    place = kept.clamp(max=gamma)
    chosen = p[row, place]
    if gamma:
        rest = (chosen - q[row, place.clamp(max=gamma - 1)]).clamp(min=0)
        use = ~everything & (rest.sum(-1) > 0)
        chosen = torch.where(use[:, None], rest, chosen)
    extra = torch.multinomial(chosen, 1, generator=generator)
    tokens = torch.cat((drafted, torch.full((batch, 1), -1)), dim=1)
    tokens[refusals_with_end(refusals, batch) > 0] = -1
    tokens.scatter_(1, kept[:, None], extra)
    return tokens, kept + 1


def refusals_with_end(refusals, batch):
    return torch.cat((refusals, torch.ones(batch, 1, dtype=refusals.dtype)), dim=1)


class Round:
    def __init__(self, target, draft, generator):
        self.target, self.draft, self.generator = target, draft, generator

    def run(self, tokens, gamma):
        ahead, q = tokens[:], []
        while len(q) < gamma:
            q.append(self.draft(torch.tensor([ahead]))[:, -1:])
            ahead = [*ahead, torch.multinomial(q[-1][0, 0], 1, generator=self.generator).item()]
        p = self.target(torch.tensor([ahead]))[:, len(tokens) - 1 : len(ahead)]
        q = torch.cat(q, 1) if q else p[:, :0]
        drafted = torch.tensor([ahead], dtype=torch.int64)[:, len(tokens) :]
        out, n = verify(drafted, q, p, generator=self.generator)
        return out[0, : n[0]].tolist()


def speculative_generate(target, draft, prompt, max_new_tokens, gamma, *, eos_token=None, generator=None):
    if not prompt or gamma < 0 or max_new_tokens < 0:
        raise ValueError("prompt, gamma, max_new_tokens")
    a_round, new = Round(target, draft, generator), []
    while True:
        if len(new) >= max_new_tokens:
            return new[:max_new_tokens]
        for token in a_round.run([*prompt, *new], gamma):
            new.append(token)
            if token == eos_token:
                return new[:max_new_tokens]


def expected_tokens(acceptance, gamma):
    if gamma < 0 or math.isnan(acceptance) or acceptance > 1 or acceptance < 0:
        raise ValueError("no")
    return math.fsum(math.pow(acceptance, i) for i in range(gamma + 1))
