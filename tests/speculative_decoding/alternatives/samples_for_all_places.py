"""A replacement is drawn at every place, though one is used; the draft's probabilities are padded with zeros."""

import torch


def verify(drafted, draft_probs, target_probs, *, generator=None):
    batch, gamma = drafted.shape
    vocab = target_probs.shape[-1]
    good = target_probs.shape == (batch, gamma + 1, vocab) and draft_probs.shape == (batch, gamma, vocab)
    if not good:
        raise ValueError("The shapes do not fit.")
    padded = torch.zeros(batch, gamma + 1, vocab, dtype=torch.float64)
    padded[:, :gamma] = draft_probs
    p = target_probs.to(torch.float64)
    sums = torch.cat([p.sum(-1), padded[:, :gamma].sum(-1)], 1)
    if not ((sums > 0.99) & (sums < 1.01)).all() or (p < 0).any() or (padded < 0).any():
        raise ValueError("These are no probabilities.")
    residual = p - padded
    residual *= residual > 0
    gone = residual.sum(-1) == 0
    residual[gone] = p[gone]
    other = torch.multinomial(residual.flatten(0, 1), 1, generator=generator).view(batch, gamma + 1)
    flat = drafted.flatten()
    spot = torch.arange(batch * gamma)
    chance_p = p[:, :gamma].reshape(-1, vocab)[spot, flat].view(batch, gamma)
    chance_q = padded[:, :gamma].reshape(-1, vocab)[spot, flat].view(batch, gamma)
    fine = torch.rand(batch, gamma, generator=generator, dtype=torch.float64) * chance_q < chance_p
    before = torch.cat([torch.ones(batch, 1, dtype=torch.bool), fine], 1).cumprod(1).bool()  # all earlier ones are kept
    kept = torch.cat([fine, torch.zeros(batch, 1, dtype=torch.bool)], 1) & before
    tokens = torch.where(kept, torch.cat([drafted, other[:, -1:]], 1), other)
    return tokens.where(before, torch.tensor(-1)), before.sum(1)


def speculative_generate(target, draft, prompt, max_new_tokens, gamma, *, eos_token=None, generator=None):
    if not prompt or max_new_tokens < 0 or gamma < 0:
        raise ValueError("Nothing can be generated.")
    text = list(prompt)

    def rounds():
        while True:
            guess, q = list(text), []
            for _ in range(gamma):
                q += [draft(torch.tensor([guess]))[0, -1]]
                guess += torch.multinomial(q[-1], 1, generator=generator).tolist()
            p = target(torch.tensor([guess]))[0, len(text) - 1 :]
            q = torch.stack(q) if q else p[:0]
            tail = torch.tensor(guess[len(text) :], dtype=torch.int64)
            tokens, counts = verify(tail[None], q[None], p[None], generator=generator)
            yield from tokens[0, : counts[0]].tolist()

    if max_new_tokens:
        for token in rounds():
            text.append(token)
            if token == eos_token or len(text) == len(prompt) + max_new_tokens:
                break
    return text[len(prompt) :]


def expected_tokens(acceptance, gamma):
    if gamma < 0 or not acceptance >= 0 or not acceptance <= 1:
        raise ValueError("An acceptance is a probability.")
    return 1.0 + (acceptance * expected_tokens(acceptance, gamma - 1) if gamma else 0.0)
