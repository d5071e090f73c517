"""Replacements by inverting the cumulative sum; all residuals are computed, and one of them is used."""

import torch
from torch.nn.functional import one_hot, pad


def verify(drafted, draft_probs, target_probs, *, generator=None):
    (batch, gamma), vocab = drafted.shape, target_probs.size(-1)
    if draft_probs.shape != torch.Size([batch, gamma, vocab]):
        raise ValueError("draft")
    if target_probs.shape != torch.Size([batch, gamma + 1, vocab]):
        raise ValueError("target")
    both = torch.cat([target_probs.double(), draft_probs.double()], 1)
    if (both < 0).any() or not torch.all((both.sum(-1) - 1).abs() <= 0.01):
        raise ValueError("rows must be distributions")
    p, q = both[:, : gamma + 1], pad(both[:, gamma + 1 :], (0, 0, 0, 1))
    uniform = torch.rand(batch, gamma + 1, 2, generator=generator, dtype=torch.float64)
    hot = one_hot(drafted, vocab).double()
    p_x, q_x = (hot * p[:, :gamma]).sum(-1), (hot * q[:, :gamma]).sum(-1)
    keep = uniform[:, :gamma, 0] < torch.where(q_x > 0, p_x / q_x, torch.where(p_x > 0, 2.0, 0.0))
    kept = keep.cummin(1).values.sum(1) if gamma else torch.zeros(batch, dtype=torch.long)
    residual = (p - q).clamp_min(0)
    residual = torch.where(residual.sum(-1, keepdim=True) == 0, p, residual)
    cdf = residual.cumsum(-1)
    picks = (cdf <= uniform[..., 1:] * cdf[..., -1:]).sum(-1).clamp(max=vocab - 1)
    place = torch.arange(gamma + 1)[None]
    tokens = torch.where(place < kept[:, None], pad(drafted, (0, 1)), torch.where(place == kept[:, None], picks, -1))
    return tokens, kept + 1


def speculative_generate(target, draft, prompt, max_new_tokens, gamma, *, eos_token=None, generator=None):
    if not len(prompt):
        raise ValueError("an empty prompt")
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens")
    if gamma < 0:
        raise ValueError("gamma")
    tokens = torch.tensor(prompt)[None]
    limit = len(prompt) + max_new_tokens
    while tokens.shape[1] < limit:
        n, qs = tokens.shape[1], []
        for _ in range(min(gamma, limit - n)):
            qs.append(draft(tokens)[:, -1])
            tokens = torch.hstack([tokens, qs[-1].multinomial(1, generator=generator)])
        p = target(tokens)[:, n - 1 :]
        q = torch.stack(qs, 1) if qs else p[:, :0]
        new, counts = verify(tokens[:, n:], q, p, generator=generator)
        tokens = torch.hstack([tokens[:, :n], new[:, : int(counts[0])]])[:, :limit]
        ends = (tokens[0, n:] == eos_token).nonzero() if eos_token is not None else []
        if len(ends):
            return tokens[0, len(prompt) : n + int(ends[0]) + 1].tolist()
    return tokens[0, len(prompt) :].tolist()


def expected_tokens(acceptance, gamma):
    if not 0 <= acceptance <= 1 or gamma < 0:
        raise ValueError
    return float(torch.full((gamma + 1,), float(acceptance), dtype=torch.float64).pow(torch.arange(gamma + 1)).sum())
