"""Everything in float64, narrowed at the end. GAE by a matrix of powers; losses by hinges instead of minima."""

import torch
from torch.nn.functional import relu


def check(*tensors):
    first, *others = tensors
    for other in others:
        if first.ndim != other.ndim or any(a != b for a, b in zip(first.shape, other.shape, strict=True)):
            raise ValueError("shapes")


def narrow(x, like):
    return x.to(torch.float64 if like.dtype is torch.float64 else torch.float32)


def select(x, mask):
    return torch.where(mask, x.double(), torch.tensor(0.0, dtype=torch.float64, device=x.device))


def token_rewards(scores, log_probs, reference, mask, beta):
    check(mask, log_probs, reference)
    check(scores, mask[:, 0])
    if not float(beta) >= 0:
        raise ValueError("beta")
    penalty = (select(reference, mask) - select(log_probs, mask)) * beta
    seen = mask.flip(1)
    first = (seen & (seen.cumsum(1) == 1)).flip(1)
    return narrow(penalty + torch.einsum("b,bt->bt", scores.double(), first.double()), scores).detach()


def gae(rewards, values, dones, last_values, gamma, lam):
    check(rewards, values, dones)
    check(last_values, rewards[:, 0])
    if min(gamma, lam) < 0 or max(gamma, lam) > 1 or gamma != gamma or lam != lam:
        raise ValueError("gamma and lam")
    length = rewards.shape[1]
    v, ends = values.detach().double(), dones.int()
    ahead = torch.cat([v, last_values.detach().double()[:, None]], 1)[:, 1:]
    delta = rewards.detach().double() - v + torch.where(dones, torch.zeros_like(v), gamma * ahead)
    distance = torch.arange(length, device=v.device)[None, :] - torch.arange(length, device=v.device)[:, None]
    powers = torch.pow(torch.tensor(gamma * lam, dtype=torch.float64, device=v.device), distance.clamp(min=0))
    ends_before = ends.cumsum(1) - ends
    reached = (distance >= 0) & (ends_before[:, :, None] == ends_before[:, None, :])  # [batch, from, to]
    advantages = torch.where(reached, powers * delta[:, None, :], 0.0).sum(2)
    return narrow(advantages, rewards), narrow(advantages + v, rewards)


def whiten(x, mask):
    check(x, mask)
    with torch.no_grad():
        kept = select(x, mask)
        n = max(mask.count_nonzero().item(), 1)
        mean = kept.sum() / n
        variance = torch.where(mask, kept - mean, 0).pow(2).sum() / max(n - 1, 1)
        z = (kept - mean) / (variance + 1e-8).sqrt()
        return narrow(torch.where(mask, z, 0), x)


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    check(log_probs, old_log_probs, advantages, mask)
    if not 0 < clip < 1:
        raise ValueError("clip")
    a = select(advantages, mask).detach()
    log_ratio = select(log_probs, mask) - select(old_log_probs, mask).detach()
    # Where the ratio is beyond e, whatever it is, a token with a >= 0 is clipped.
    ratio = torch.where((a >= 0) & (log_ratio > 1), torch.ones_like(a), log_ratio).exp()
    gained = a.sign() * (ratio - 1)  # how far the token has moved where it should
    excess = relu(gained - clip) * (a != 0)
    tokens = -ratio * a + excess * a.abs()
    n = mask.count_nonzero().clamp(min=1)
    return narrow(tokens.sum() / n, log_probs), narrow((excess > 0).sum() / n, log_probs)


def value_loss(values, old_values, returns, mask, clip=0.2):
    check(values, old_values, returns, mask)
    if clip is not None and not clip > 0:
        raise ValueError("clip")
    v, old, r = select(values, mask), select(old_values, mask).detach(), select(returns, mask).detach()
    plain = (v - r) ** 2
    if clip is not None:
        beyond = relu(v - old - clip) - relu(old - v - clip)
        plain = plain + relu((v - beyond - r) ** 2 - plain)
    return narrow(plain.sum() / (2 * mask.count_nonzero().clamp(min=1)), values)


def entropy(logits, mask):
    if tuple(mask.shape) != tuple(logits.shape)[:2]:
        raise ValueError("mask")
    z = select(logits, mask[:, :, None])
    log_p = z - z.logsumexp(2, keepdim=True)
    p = log_p.exp()
    each = torch.where(p > 0, p * log_p.masked_fill(p == 0, 0), 0).sum(2)
    return narrow(-select(each, mask).sum() / mask.count_nonzero().clamp(min=1), logits)
