"""Written down by cases: where the clip binds, the cost is a constant; elsewhere it is -r A. Matrix products for the sums
over rows, einsum for the groups, k3 from a Bregman divergence."""

import torch
from torch import einsum


def completion_mask(tokens, eos_ids):
    is_eos = torch.isin(tokens, torch.tensor(tuple(eos_ids), device=tokens.device))
    seen = torch.nn.functional.pad(is_eos.long(), (1, 0))[:, :-1].cumsum(1)
    return seen.eq(0)


def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    groups, rest = divmod(len(rewards), max(group_size, 1))
    if rest or group_size < 2:
        raise ValueError("no groups")
    with torch.no_grad():
        x = rewards.to(torch.promote_types(rewards.dtype, torch.float32)).reshape(groups, group_size)
        x = x - einsum("pg->p", x).div(group_size)[:, None]
        if scale:
            variance = einsum("pg,pg->p", x, x) / (group_size - 1)
            x = einsum("pg,p->pg", x, 1 / (variance.sqrt() + eps))
        return x.reshape(-1)


def kl_estimate(log_probs, reference, kind):
    if log_probs.shape != reference.shape:
        raise ValueError("shapes")
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    p, q = log_probs.to(dtype), reference.to(dtype).detach()
    functions = {
        "k1": lambda: p - q,
        "k2": lambda: (p - q) * (p - q) * 0.5,
        "k3": lambda: torch.special.expm1(q - p) - (q - p),
    }
    try:
        return functions[kind]()
    except KeyError as error:
        raise ValueError(f"unknown estimate {kind}") from error


def grpo_loss(
    log_probs,
    old_log_probs,
    advantages,
    mask,
    *,
    reference=None,
    beta=0.0,
    clip_low=0.2,
    clip_high=0.2,
    reduction="sequence",
    max_length=None,
):
    rows, columns = mask.shape if mask.dim() == 2 else (-1, -1)
    given = [log_probs, old_log_probs] + ([reference] if reference is not None else [])
    if any(x.shape != (rows, columns) for x in given) or advantages.shape != (rows,):
        raise ValueError("shapes")
    if reference is None and beta != 0:
        raise ValueError("reference")
    if not beta >= 0 or not clip_low > 0 or not clip_low < 1 or not clip_high > 0:
        raise ValueError("options")
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    new, old, *ref = (torch.zeros_like(x, dtype=dtype).masked_scatter(mask, x[mask].to(dtype)) for x in given)
    A = advantages.to(dtype).detach().unsqueeze(-1).expand(rows, columns)
    ratio = (new - old.detach()).exp()
    costs = -ratio * A
    costs = costs.where(~((A > 0) & (ratio > 1 + clip_high)), -(1 + clip_high) * A)
    costs = costs.where(~((A < 0) & (ratio < 1 - clip_low)), -(1 - clip_low) * A)
    if ref:
        costs = costs + beta * kl_estimate(new, ref[0], "k3")
    counted, lengths = mask.to(dtype), mask.sum(1).to(dtype)
    sums = einsum("bl,bl->b", costs, counted)
    if reduction == "sequence":
        return (sums / torch.where(lengths > 0, lengths, 1)).sum() / rows
    if reduction == "token":
        return sums.sum() / lengths.sum().clamp(min=1)
    if reduction != "constant" or not max_length or max_length < 0:
        raise ValueError("reduction")
    return sums.sum() / (rows * max_length)
