"""TorchRL's generalised advantage estimate, its clipped objective and its clipped value loss. It multiplies by what is done, so
that a NaN behind an end stays one, and overflows where a ratio does: those places are emptied and clipped beforehand."""

import math

import torch
from torch.distributions import Categorical
from torchrl.objectives.llm import GRPOLoss
from torchrl.objectives.utils import _clip_value_loss, distance_loss
from torchrl.objectives.value.functional import generalized_advantage_estimate


def widened(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check(shape, *others):
    if any(other.shape != shape for other in others):
        raise ValueError("shapes")


def mean(x, mask):
    return x.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)


def token_rewards(scores, log_probs, reference, mask, beta):
    check(mask.shape, log_probs, reference)
    check(mask.shape[:1], scores)
    if not beta >= 0:
        raise ValueError("beta")
    log_probs, reference, scores = (widened(each.detach()) for each in (log_probs, reference, scores))
    places = torch.arange(mask.shape[1], device=mask.device)
    last = places.masked_fill(~mask, -1).amax(1, keepdim=True) if mask.shape[1] else places[None]
    rewards = (beta * (reference - log_probs)).masked_fill(~mask, 0.0)
    return torch.where((places == last) & mask, rewards + scores[:, None], rewards)


def gae(rewards, values, dones, last_values, gamma, lam):
    check(rewards.shape, values, dones)
    check(rewards.shape[:1], last_values)
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError("gamma or lam")
    rewards, values, last = (widened(each.detach()) for each in (rewards, values, last_values))
    following = torch.cat([values[:, 1:], last[:, None]], 1).masked_fill(dones, 0.0)
    # What lies behind an end, NaN perhaps, would be multiplied by 0: each episode gets a row of its own.
    episode = dones.long().cumsum(1) - dones.long()
    count = int(episode.max()) + 1
    own = torch.nn.functional.one_hot(episode, count).bool().permute(2, 0, 1)
    apart = [each.masked_fill(~own, 0.0) for each in (values, following, rewards)]
    done = (dones | ~own)[..., None]
    gamma, lam = torch.tensor([gamma, lam], dtype=values.dtype, device=values.device)  # numbers become float32
    found = generalized_advantage_estimate(gamma, lam, *(each[..., None] for each in apart), done)
    return tuple(each[..., 0].masked_fill(~own, 0.0).sum(0) for each in found)


def whiten(x, mask):
    check(x.shape, mask)
    x = widened(x.detach())
    centred = (x - mean(x, mask)).masked_fill(~mask, 0.0)
    return centred / (mean(centred**2, mask) + 1e-8).sqrt()


def policy_loss(log_probs, old_log_probs, advantages, mask, clip=0.2):
    check(mask.shape, log_probs, old_log_probs, advantages)
    if not 0 < clip < 1:
        raise ValueError("clip")
    new, old, gains = (widened(each) for each in (log_probs, old_log_probs.detach(), advantages.detach()))
    log_ratio, gains = (new - old).masked_fill(~mask, 0.0), gains.masked_fill(~mask, 0.0)
    theirs = GRPOLoss(clip_epsilon=clip, device=mask.device)
    theirs.clip_epsilon_low = theirs.clip_epsilon_high = torch.tensor(clip, dtype=new.dtype, device=mask.device)
    # far beyond the limit, below which it is clipped again where the advantage is not negative
    bounded = log_ratio.clamp(max=80.0).where(gains >= 0, log_ratio)
    costs, _ = theirs._compute_policy_objective(bounded, gains)
    bites = ((gains > 0) & (log_ratio > math.log1p(clip))) | ((gains < 0) & (log_ratio < math.log1p(-clip)))
    return mean(costs, mask), mean(bites.to(costs.dtype), mask)


def value_loss(values, old_values, returns, mask, clip=0.2):
    check(mask.shape, values, old_values, returns)
    if clip is not None and not clip > 0:
        raise ValueError("clip")
    values, old, returns = (
        widened(each).masked_fill(~mask, 0.0) for each in (values, old_values.detach(), returns.detach())
    )
    losses = distance_loss(returns, values, "l2")
    if clip is not None:
        limit = torch.tensor(clip, dtype=values.dtype, device=values.device)
        losses, _ = _clip_value_loss(old, values, limit, returns, losses, "l2")
    return mean(losses, mask) / 2


def entropy(logits, mask):
    check(logits.shape[:-1], mask)
    logits = widened(logits).masked_fill(~mask[..., None], 0.0)
    return mean(Categorical(logits=logits, validate_args=False).entropy(), mask)
