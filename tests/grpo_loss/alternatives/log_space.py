"""The logarithm of the ratio is clamped, in float64 throughout; statistics from z-scores by unflatten; reductions by nan
means."""

import math

import torch


def completion_mask(tokens, eos_ids):
    length = tokens.shape[-1]
    places = torch.arange(length, device=tokens.device)
    is_eos = sum((tokens == each).long() for each in set(eos_ids)).bool()
    first = torch.where(is_eos, places, length).amin(-1)
    return ~(places[None] > first[:, None])


def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    if not (group_size >= 2 and len(rewards) % group_size == 0):
        raise ValueError("groups")
    out = rewards.dtype if rewards.dtype == torch.float64 else torch.float32
    grouped = rewards.data.double().unflatten(0, (-1, group_size))
    std, mean = torch.std_mean(grouped, dim=1, keepdim=True)
    return ((grouped - mean) / (std + eps if scale else 1)).flatten().to(out)


def kl_estimate(log_probs, reference, kind):
    if kind not in ("k1", "k2", "k3") or log_probs.shape != reference.shape:
        raise ValueError("kind or shapes")
    out = log_probs.dtype if log_probs.dtype == torch.float64 else torch.float32
    x = reference.detach().double() - log_probs.double()
    return (-x if kind == "k1" else x * x / 2 if kind == "k2" else x.expm1() - x).to(out)


def grpo_loss(log_probs, old_log_probs, advantages, mask, **options):
    return _loss(log_probs, old_log_probs, advantages, mask, **options)


def _loss(
    log_probs,
    old_log_probs,
    advantages,
    mask,
    reference=None,
    beta=0.0,
    clip_low=0.2,
    clip_high=0.2,
    reduction="sequence",
    max_length=None,
):
    shapes = {tuple(x.shape) for x in (log_probs, old_log_probs, mask, reference) if x is not None}
    if len(shapes) > 1 or tuple(advantages.shape) != (len(log_probs),):
        raise ValueError(f"shapes {shapes}")
    if math.isnan(beta) or beta < 0 or (beta > 0 and reference is None):
        raise ValueError("beta")
    if not 0 < clip_low < 1 or math.isnan(clip_high) or clip_high <= 0:
        raise ValueError("clips")
    if reduction not in ("sequence", "token", "constant"):
        raise ValueError("reduction")
    if reduction == "constant" and not (max_length and max_length > 0):
        raise ValueError("max_length")
    out = log_probs.dtype if log_probs.dtype == torch.float64 else torch.float32
    zero = torch.zeros((), dtype=torch.float64, device=mask.device)
    new = torch.where(mask, log_probs.double(), zero)
    old = torch.where(mask, old_log_probs.detach().double(), zero)
    log_ratio = new - old
    near = log_ratio.clamp(math.log1p(-clip_low), math.log1p(clip_high))
    A = advantages.detach().double().reshape(-1, 1)
    costs = torch.stack([-A * log_ratio.exp(), -A * near.exp()]).amax(0)
    if beta:
        costs = costs + beta * kl_estimate(new, torch.where(mask, reference.double(), zero), "k3")
    costs = costs.masked_fill(~mask, 0)
    counts = mask.sum(1)
    if reduction == "sequence":
        total = (costs / counts.clamp_min(1)[:, None]).sum() / len(counts)
    elif reduction == "token":
        total = costs.sum() / max(int(counts.sum()), 1)
    else:
        total = costs.sum() / max_length / len(counts)
    return total.to(out)
