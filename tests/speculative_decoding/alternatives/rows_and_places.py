"""Plain loops over rows and places would take too many operators, so rows are decided at once and places by arithmetic."""

import torch


def verify(drafted, draft_probs, target_probs, *, generator=None):
    b, g = drafted.shape
    if target_probs.shape[:2] != (b, g + 1) or draft_probs.shape != (b, g, target_probs.shape[2]):
        raise ValueError("shapes")
    p, q = target_probs.double(), draft_probs.double()
    if (p.min() if p.numel() else 0) < 0 or (q.min() if q.numel() else 0) < 0:
        raise ValueError("negative")
    if not torch.isclose(p.sum(-1), torch.ones(b, g + 1).double(), atol=0.01, rtol=0).all():
        raise ValueError("target")
    if not torch.isclose(q.sum(-1), torch.ones(b, g).double(), atol=0.01, rtol=0).all():
        raise ValueError("draft")
    index = drafted.unsqueeze(2)
    ratio = p[:, :-1].gather(2, index).squeeze(2) / q.gather(2, index).squeeze(2)
    refused = ~(torch.rand((b, g), generator=generator, dtype=torch.float64) < ratio)
    stop = torch.cat([refused, torch.ones(b, 1, dtype=torch.bool)], dim=1)  # the place behind the draft always stops
    first = stop.int().argmax(dim=1)
    own = torch.nn.functional.pad(q, (0, 0, 0, 1))
    take = first[:, None, None].expand(b, 1, p.shape[2])
    p_here, q_here = p.gather(1, take)[:, 0], own.gather(1, take)[:, 0]
    residual = torch.relu(p_here - q_here)
    empty = residual.sum(1) <= 0
    residual[empty] = p_here[empty]
    new = torch.multinomial(residual / residual.sum(1, keepdim=True), 1, generator=generator)[:, 0]
    out = torch.nn.functional.pad(drafted, (0, 1), value=-1)
    columns = torch.arange(g + 1).expand(b, -1)
    out = torch.where(columns < first[:, None], out, -1)
    out = torch.where(columns == first[:, None], new[:, None], out)
    return out, first + 1


def speculative_generate(target, draft, prompt, max_new_tokens, gamma, *, eos_token=None, generator=None):
    if len(prompt) == 0:
        raise ValueError("prompt")
    if max_new_tokens < 0 or gamma < 0:
        raise ValueError("numbers")
    context, new = torch.tensor([prompt]), []
    while len(new) < max_new_tokens:
        guess, qs = context, []
        for _ in range(gamma):
            q = draft(guess)[:, -1:]
            qs.append(q)
            guess = torch.cat([guess, torch.multinomial(q[:, 0], 1, generator=generator)], 1)
        p = target(guess)[:, -gamma - 1 :]
        q = torch.cat(qs, 1) if qs else p[:, :0]
        tokens, count = verify(guess[:, context.shape[1] :], q, p, generator=generator)
        tokens = tokens[:, : count.item()]
        context = torch.cat([context, tokens], 1)
        for token in tokens[0].tolist():
            new.append(token)
            if token == eos_token or len(new) == max_new_tokens:
                return new
    return new


def expected_tokens(acceptance, gamma):
    if gamma < 0 or acceptance < 0 or acceptance > 1 or acceptance != acceptance:
        raise ValueError("expected_tokens")
    return gamma + 1.0 if acceptance == 1 else (1 - acceptance ** (gamma + 1)) / (1 - acceptance)
