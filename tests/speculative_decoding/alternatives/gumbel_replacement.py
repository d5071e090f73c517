"""The replacement by Gumbel noise, and the check in log-probabilities."""

import torch


def verify(drafted, draft_probs, target_probs, *, generator=None):
    batch, gamma = drafted.shape
    if tuple(draft_probs.shape) != (batch, gamma, target_probs.shape[-1]):
        raise ValueError("draft_probs")
    if target_probs.dim() != 3 or tuple(target_probs.shape[:2]) != (batch, gamma + 1):
        raise ValueError("target_probs")
    p, q = target_probs.to(torch.float64), draft_probs.to(torch.float64)
    for rows in (p, q):
        if bool((rows < 0).any()) or bool((~((rows.sum(-1) - 1).abs() < 1e-2)).any()):
            raise ValueError("not probabilities")
    log_p, log_q = p[:, :gamma].log(), q.log()
    picked = drafted[:, :, None]
    log_ratio = (log_p.gather(2, picked) - log_q.gather(2, picked))[:, :, 0]
    log_u = torch.rand(batch, gamma, generator=generator, dtype=torch.float64).log()
    alive = (log_u < log_ratio).to(torch.int64)
    alive = torch.cumprod(torch.cat([alive, alive.new_zeros(batch, 1)], 1), 1)
    kept = alive.sum(1)
    here = torch.arange(batch)
    base = p[here, kept]
    taken = torch.cat([q, q.new_zeros(batch, 1, q.shape[-1])], 1)[here, kept]
    residual = torch.maximum(base - taken, torch.zeros_like(base))
    residual = torch.where(residual.any(-1, keepdim=True), residual, base)
    noise = torch.empty_like(residual).exponential_(generator=generator)
    replacement = (residual / noise).argmax(-1)
    tokens = torch.full((batch, gamma + 1), -1)
    tokens[:, :gamma] = torch.where(alive[:, :gamma] == 1, drafted, -1)
    tokens[here, kept] = replacement
    return tokens, kept + 1


def speculative_generate(target, draft, prompt, max_new_tokens, gamma, *, eos_token=None, generator=None):
    if not prompt or min(max_new_tokens, gamma) < 0:
        raise ValueError("arguments")
    done = []
    while len(done) < max_new_tokens and (not done or done[-1] != eos_token):
        done += one_round(target, draft, prompt + done, min(gamma, max_new_tokens - len(done) - 1), generator)
        if eos_token in done:
            done = done[: done.index(eos_token) + 1]
    return done


def one_round(target, draft, known, gamma, generator):
    drafted, qs = [], []
    for _ in range(gamma):
        q = draft(torch.tensor([known + drafted]))[0, -1]
        drafted.append(torch.multinomial(q, 1, generator=generator).item())
        qs.append(q)
    p = target(torch.tensor([known + drafted]))[:, len(known) - 1 :]
    q = torch.stack(qs).unsqueeze(0) if qs else torch.empty(1, 0, p.shape[-1], dtype=p.dtype)
    tokens, counts = verify(torch.tensor(drafted, dtype=torch.long).view(1, -1), q, p, generator=generator)
    return tokens[0, : counts[0]].tolist()


def expected_tokens(acceptance, gamma):
    if gamma < 0 or not (0.0 <= acceptance <= 1.0):
        raise ValueError("acceptance and gamma")
    total, chance = 0.0, 1.0
    for _ in range(gamma + 1):
        total += chance
        chance *= acceptance
    return total
