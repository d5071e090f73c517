"""Lambda returns by recursion, and advantages as what is left of them; torch's categorical distribution; masked tensors
cut to rows of padding-free tokens by torch.masked_select."""

import torch
from torch.distributions import Categorical


class Shape(ValueError):
    pass


def as_float(x):
    return x.double() if x.dtype == torch.double else x.to(torch.float)


def equal_shapes(a, *rest):
    for b in rest:
        if a.shape != b.shape:
            raise Shape(f"{a.shape} and {b.shape}")


def picked(x, mask):
    return torch.masked_select(as_float(x), mask)


def share(total, mask):
    return total / torch.maximum(mask.sum(), torch.ones_like(mask.sum()))


def token_rewards(scores, log_probs, reference, mask, beta):
    equal_shapes(mask, log_probs, reference)
    equal_shapes(mask[:, 0], scores)
    if not beta >= 0:
        raise ValueError(beta)
    rewards = (as_float(log_probs) - as_float(reference)).mul(-beta)
    rewards = rewards.masked_fill(~mask, 0)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    bonus = as_float(scores).where(mask.any(1), 0)
    return rewards.scatter_add(1, last[:, None], bonus[:, None]).detach()


def gae(rewards, values, dones, last_values, gamma, lam):
    equal_shapes(rewards, values, dones)
    equal_shapes(rewards[:, 0], last_values)
    if not all(0 <= x <= 1 for x in (gamma, lam)):
        raise ValueError((gamma, lam))
    rewards, values = as_float(rewards).detach(), as_float(values).detach()
    value = result = as_float(last_values).detach()
    returns = []
    # G[t] = r[t] + gamma ((1 - lam) V[t + 1] + lam G[t + 1])
    for reward, before, done in zip(
        rewards.unbind(1)[::-1], values.unbind(1)[::-1], dones.unbind(1)[::-1], strict=True
    ):
        mixed = torch.lerp(value, result, lam)
        result = reward + gamma * mixed.where(~done, 0)
        value = before
        returns.append(result)
    returns = torch.stack(returns[::-1], 1)
    return returns - values, returns


def whiten(x, mask):
    equal_shapes(x, mask)
    flat = picked(x.detach(), mask)
    if flat.numel() == 0:
        return torch.zeros_like(as_float(x)).detach()
    variance, mean = torch.var_mean(flat, correction=0)
    return torch.zeros_like(as_float(x)).detach().masked_scatter(mask, (flat - mean) * torch.rsqrt(variance + 1e-8))


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    equal_shapes(log_probs, old_log_probs, advantages, mask)
    if clip != clip or clip <= 0 or clip >= 1:
        raise ValueError(clip)
    change = picked(log_probs, mask) - picked(old_log_probs, mask).detach()
    a = picked(advantages, mask).detach()
    good = torch.minimum(change, torch.full_like(change, 50)).exp()
    objective = torch.minimum(good * a, good.clip(1 - clip, 1 + clip) * a)
    return share(-objective.sum(), mask), share((objective.detach() < good.detach() * a).sum(), mask).to(a.dtype)


def value_loss(values, old_values, returns, mask, clip=0.2):
    equal_shapes(values, old_values, returns, mask)
    if clip is not None and not clip > 0:
        raise ValueError(clip)
    new, old, goal = picked(values, mask), picked(old_values, mask).detach(), picked(returns, mask).detach()
    candidates = [new] if clip is None else [new, torch.max(torch.min(new, old + clip), old - clip)]
    errors = torch.stack([each - goal for each in candidates]).square()
    return share(errors.amax(0).sum(), mask) / 2


def entropy(logits, mask):
    equal_shapes(logits[..., 0], mask)
    rows = as_float(logits[mask])
    if not len(rows):
        return rows.sum()
    rows = rows.clamp(min=torch.finfo(rows.dtype).min)
    return Categorical(logits=rows, validate_args=False).entropy().mean()
