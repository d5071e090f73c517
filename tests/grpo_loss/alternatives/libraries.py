"""As training libraries write it: argmax of the EOS, repeat_interleave of group statistics, torch.max of negatives, exp
and a subtraction, masked_fill."""

import torch


def _float(x):
    return x if x.dtype == torch.float64 else x.float()


def completion_mask(tokens, eos_ids):
    is_eos = torch.zeros_like(tokens, dtype=torch.bool)
    for each in eos_ids:
        is_eos = is_eos | (tokens == each)
    end = torch.full((tokens.size(0),), tokens.size(1), dtype=torch.long, device=tokens.device)
    end[is_eos.any(dim=1)] = is_eos.int().argmax(dim=1)[is_eos.any(dim=1)]
    places = torch.arange(tokens.size(1), device=tokens.device).expand(tokens.size(0), -1)
    return places <= end.unsqueeze(1)


@torch.no_grad()
def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    if group_size < 2:
        raise ValueError("a group has two answers at least")
    if rewards.numel() % group_size != 0:
        raise ValueError("the groups are not full")
    rewards = _float(rewards)
    mean = rewards.view(-1, group_size).mean(dim=1).repeat_interleave(group_size, dim=0)
    std = rewards.view(-1, group_size).std(dim=1).repeat_interleave(group_size, dim=0)
    return (rewards - mean) / (std + eps) if scale else rewards - mean


def kl_estimate(log_probs, reference, kind):
    if log_probs.size() != reference.size():
        raise ValueError("shapes")
    ratio = _float(reference).detach() - _float(log_probs)
    estimates = {"k1": -ratio, "k2": 0.5 * ratio**2, "k3": torch.exp(ratio) - ratio - 1}
    if kind not in estimates:
        raise ValueError(kind)
    return estimates[kind]


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
    shape = log_probs.shape
    if old_log_probs.shape != shape or mask.shape != shape or advantages.shape != (shape[0],):
        raise ValueError("shapes")
    if not (beta >= 0 and 0 < clip_low < 1 and clip_high > 0):
        raise ValueError("options")
    if beta > 0 and (reference is None or reference.shape != shape):
        raise ValueError("reference")
    if reduction not in {"sequence", "token", "constant"}:
        raise ValueError(reduction)
    if reduction == "constant" and (max_length is None or max_length <= 0):
        raise ValueError("max_length")
    log_probs = _float(log_probs).masked_fill(~mask, 0.0)
    old = _float(old_log_probs).detach().masked_fill(~mask, 0.0)
    advantages = _float(advantages).detach().unsqueeze(1)
    ratio = torch.exp(log_probs - old)
    loss = torch.max(-advantages * ratio, -advantages * torch.clamp(ratio, 1 - clip_low, 1 + clip_high))
    if beta > 0:
        loss = loss + beta * kl_estimate(log_probs, _float(reference).masked_fill(~mask, 0.0), "k3")
    if reduction == "sequence":
        return ((loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()
    if reduction == "token":
        return (loss * mask).sum() / mask.sum().clamp(min=1.0)
    return (loss * mask).sum() / (loss.size(0) * max_length)
