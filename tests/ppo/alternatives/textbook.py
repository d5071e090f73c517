"""As in the papers: a ratio, a minimum of two products. Huge ratios are prevented by an upper limit of the log-ratio."""

import torch
import torch.nn.functional as F


def wide(x):
    return x if x.dtype == torch.float64 else x.float()


def same(*tensors):
    if len({t.shape for t in tensors}) != 1:
        raise ValueError(f"shapes differ: {[tuple(t.shape) for t in tensors]}")


def mean(x, mask):
    count = int(mask.sum())
    return x.masked_fill(~mask, 0).sum() / max(count, 1)


@torch.no_grad()
def token_rewards(scores, log_probs, reference, mask, beta):
    same(log_probs, reference, mask)
    if scores.shape != mask.shape[:1]:
        raise ValueError("scores")
    if beta != beta or beta < 0:
        raise ValueError("beta")
    length = mask.shape[1]
    rewards = torch.zeros_like(wide(log_probs))
    kl = wide(log_probs) - wide(reference)
    rewards[mask] = -beta * kl[mask]
    last = torch.where(mask, torch.arange(length, device=mask.device), -1).amax(1)
    rows = (last >= 0).nonzero()[:, 0]
    rewards[rows, last[rows]] += wide(scores)[rows]
    return rewards


@torch.no_grad()
def gae(rewards, values, dones, last_values, gamma, lam):
    same(rewards, values, dones)
    if last_values.shape != rewards.shape[:1]:
        raise ValueError("last_values")
    for name, x in (("gamma", gamma), ("lam", lam)):
        if not 0 <= x <= 1:
            raise ValueError(name)
    rewards, values, next_value = wide(rewards), wide(values), wide(last_values)
    advantage, advantages = 0.0 * torch.ones_like(next_value), []
    zero = torch.zeros_like(next_value)
    for t in range(rewards.shape[1] - 1, -1, -1):
        ended = dones[:, t]
        delta = rewards[:, t] + gamma * torch.where(ended, zero, next_value) - values[:, t]
        advantage = delta + gamma * lam * torch.where(ended, zero, advantage)
        next_value = values[:, t]
        advantages.insert(0, advantage)
    advantages = torch.stack(advantages, 1)
    return advantages, advantages + values


@torch.no_grad()
def whiten(x, mask):
    same(x, mask)
    out = torch.zeros_like(wide(x))
    kept = wide(x)[mask]
    if len(kept) > 1:
        out[mask] = (kept - kept.mean()) / torch.sqrt(kept.var() + 1e-8)
    return out


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    same(log_probs, old_log_probs, advantages, mask)
    if not 0 < clip < 1:
        raise ValueError("clip")
    difference = wide(log_probs) - wide(old_log_probs).detach()
    ratio = difference.masked_fill(~mask, 0).clamp(max=20).exp()
    weights = wide(advantages).detach().masked_fill(~mask, 0)
    plain, limited = -ratio * weights, -ratio.clamp(1 - clip, 1 + clip) * weights
    loss = torch.max(plain, limited)
    return mean(loss, mask), mean((limited > plain).to(loss), mask).detach()


def value_loss(values, old_values, returns, mask, clip=0.2):
    same(values, old_values, returns, mask)
    if clip is not None and (clip != clip or clip <= 0):
        raise ValueError("clip")
    v, old, target = (wide(x).masked_fill(~mask, 0) for x in (values, old_values.detach(), returns.detach()))
    plain = F.mse_loss(v, target, reduction="none")
    if clip is None:
        return 0.5 * mean(plain, mask)
    moved = old + torch.clamp(v - old, -clip, clip)
    return 0.5 * mean(torch.max(plain, (moved - target) ** 2), mask)


def entropy(logits, mask):
    same(logits[..., 0], mask)
    z = wide(logits).masked_fill(~mask.unsqueeze(-1), 0)
    banned = z == -torch.inf
    log_p = torch.log_softmax(z, -1)
    p = log_p.exp()
    h = -(p * log_p.masked_fill(banned, 0)).sum(-1)
    return mean(h, mask)
