"""The tokens that count, as one flat list: boolean indexing, index_add to rows and groups, weights of tokens."""

import torch


def completion_mask(tokens, eos_ids):
    hit = (tokens[..., None] == torch.as_tensor(list(eos_ids), device=tokens.device)).any(-1)
    ended = hit.int().cummax(-1).values.bool()
    return torch.cat([torch.ones_like(ended[:, :1]), ~ended[:, :-1]], dim=-1)


def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    n = rewards.shape[0]
    if group_size <= 1 or n != n // group_size * group_size:
        raise ValueError(f"{n} rewards in groups of {group_size}")
    rewards = rewards.detach().to(torch.promote_types(rewards.dtype, torch.float32))
    group = torch.arange(n, device=rewards.device) // group_size
    zeros = rewards.new_zeros(n // group_size)
    centred = rewards - (zeros.index_add(0, group, rewards) / group_size)[group]
    if not scale:
        return centred
    variance = zeros.index_add(0, group, centred**2) / (group_size - 1)
    return centred / (variance**0.5 + eps)[group]


def kl_estimate(log_probs, reference, kind):
    if list(log_probs.shape) != list(reference.shape):
        raise ValueError("one shape, please")
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    difference = log_probs.to(dtype).sub(reference.detach().to(dtype))
    match kind:
        case "k1":
            return difference
        case "k2":
            return difference.pow(2).mul(0.5)
        case "k3":
            return difference.neg().exp() - 1 + difference
    raise ValueError(f"no estimate {kind}")


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
    batch, length = log_probs.shape
    for each in (old_log_probs, mask, reference):
        if each is not None and each.shape != (batch, length):
            raise ValueError(f"{list(each.shape)} is not [{batch}, {length}]")
    if advantages.shape != (batch,):
        raise ValueError("one advantage for each row")
    right = beta >= 0 and clip_low > 0 and clip_low < 1 and clip_high > 0 and (beta == 0 or reference is not None)
    if not right:
        raise ValueError("options")
    row = torch.arange(batch, device=mask.device)[:, None].expand(batch, length)[mask]
    lengths = torch.bincount(row, minlength=batch)
    if reduction == "sequence":
        weights = 1 / lengths.double()[row] / batch
    elif reduction == "token":
        weights = torch.full((len(row),), 1 / max(len(row), 1), dtype=torch.float64, device=mask.device)
    elif reduction == "constant" and (max_length or 0) > 0:
        weights = torch.full((len(row),), 1 / max_length / batch, dtype=torch.float64, device=mask.device)
    else:
        raise ValueError("reduction")
    dtype = torch.promote_types(log_probs.dtype, torch.float32)
    new, old = log_probs[mask].to(dtype), old_log_probs[mask].detach().to(dtype)
    A = advantages.detach()[row].to(dtype)
    ratio = (new - old).exp()
    limit = torch.where(A >= 0, A.new_tensor(1 + clip_high), A.new_tensor(1 - clip_low))  # only one of the two can bind
    objective = torch.where(ratio * A < limit * A, ratio, limit) * A
    costs = -objective
    if reference is not None and beta:
        costs = costs + beta * kl_estimate(new, reference[mask], "k3")
    return (costs * weights.to(dtype)).sum()
