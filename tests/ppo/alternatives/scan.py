"""GAE as a scan that doubles its reach, log2(length) rounds; losses with a backward pass of their own, by cases."""

import math

import torch
from torch.autograd import Function


def promoted(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def demand(right, sentence):
    if not right:
        raise ValueError(sentence)


def token_rewards(scores, log_probs, reference, mask, beta):
    demand(log_probs.size() == reference.size() == mask.size(), "one shape")
    demand(scores.size() == log_probs.size()[:1], "one score for each row")
    demand(beta >= 0, "beta >= 0")
    zero = torch.zeros((), dtype=promoted(scores).dtype, device=mask.device)
    ratio = promoted(log_probs).detach() - promoted(reference).detach()
    # A True token is the last one if the number of True tokens after it is 0.
    after = mask.long().sum(1, keepdim=True) - mask.long().cumsum(1)
    bonus = promoted(scores).detach().unsqueeze(1) * (mask & (after == 0))
    return torch.where(mask, bonus - beta * ratio, zero)


def gae(rewards, values, dones, last_values, gamma, lam):
    demand(rewards.size() == values.size() == dones.size(), "one shape")
    demand(last_values.size() == rewards.size()[:1], "one last value for each row")
    demand(0 <= gamma <= 1, "gamma")
    demand(0 <= lam <= 1, "lam")
    r, v, last = promoted(rewards.detach()), promoted(values.detach()), promoted(last_values.detach())
    following = torch.roll(v, -1, 1)
    following[:, -1] = last
    b = torch.where(dones, r - v, r + gamma * following - v)
    a = torch.full_like(b, gamma * lam).masked_fill(dones, 0)
    length, reach = b.shape[1], 1
    while reach < length:
        ahead_a, ahead_b = a[:, reach:], b[:, reach:]
        more = torch.where(a[:, :-reach] == 0, 0, a[:, :-reach] * ahead_b)
        b = torch.cat([b[:, :-reach] + more, b[:, -reach:]], 1)
        a = torch.cat([a[:, :-reach] * ahead_a, a[:, -reach:]], 1)
        reach *= 2
    return b, b + v


def whiten(x, mask):
    demand(x.size() == mask.size(), "one shape")
    x = promoted(x).detach()
    weights = mask.to(x.dtype) / mask.sum().clamp_min(1)
    filled = x.masked_fill(mask.logical_not(), 0)
    mean = torch.einsum("bt,bt->", filled, weights)
    deviation = (filled - mean) * mask
    variance = torch.einsum("bt,bt,bt->", deviation, deviation, weights)
    return deviation / (variance + 1e-8) ** 0.5


class Surrogate(Function):
    """The sum of the tokens' losses, all of them counted."""

    @staticmethod
    def forward(ctx, log_ratio, a, clip):
        low, high = math.log(1 - clip), math.log(1 + clip)
        bites = ((a > 0) & (log_ratio > high)) | ((a < 0) & (log_ratio < low))
        inside = log_ratio.masked_fill(bites | (a == 0), 0).exp()
        limit = 1 + clip * a.sign()
        ctx.save_for_backward(inside.masked_fill(bites, 0) * a)
        ctx.mark_non_differentiable(bites)
        return -(torch.where(bites, limit, inside) * a).sum(), bites

    @staticmethod
    def backward(ctx, grad, _):
        return -grad * ctx.saved_tensors[0], None, None


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    demand(log_probs.size() == old_log_probs.size() == advantages.size() == mask.size(), "one shape")
    demand(0 < clip < 1, "0 < clip < 1")
    log_ratio = (promoted(log_probs) - promoted(old_log_probs).detach()).masked_fill(mask.logical_not(), 0)
    total, bites = Surrogate.apply(log_ratio, promoted(advantages).detach().masked_fill(mask.logical_not(), 0), clip)
    count = mask.sum().clamp(1)
    return total / count, bites.sum().to(total.dtype) / count


def value_loss(values, old_values, returns, mask, clip=0.2):
    demand(values.size() == old_values.size() == returns.size() == mask.size(), "one shape")
    demand(clip is None or clip > 0, "clip")
    off = mask.logical_not()
    v = promoted(values).masked_fill(off, 0)
    with torch.no_grad():
        old, r = promoted(old_values).masked_fill(off, 0), promoted(returns).masked_fill(off, 0)
        move = v - old
        limited = torch.zeros_like(v) if clip is None else (old + clip * move.sign() - r).square()
        stuck = mask & False if clip is None else (move.abs() > clip) & (limited > (v - r).square())
    costs = torch.where(stuck, limited, (v - r) ** 2)
    return costs.sum() * 0.5 / mask.sum().clamp(1)


def entropy(logits, mask):
    demand(logits.size()[:-1] == mask.size(), "a mask for each position")
    z = torch.where(mask.unsqueeze(2), promoted(logits), 0)
    p = torch.softmax(z, 2)
    # log sum exp z - sum p z, where a banned token has p = 0
    mean = torch.einsum("btv,btv->bt", p, z.masked_fill(torch.isneginf(z), 0))
    h = torch.logsumexp(z, 2) - mean
    return torch.where(mask, h, 0).sum() / mask.sum().clamp(1)
