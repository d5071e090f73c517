"""The surrogate with a gradient written by hand: an autograd function returns cost and slope together. Numpy for the
groups and for the mask."""

import numpy as np
import torch


def completion_mask(tokens, eos_ids):
    array = tokens.cpu().numpy()
    is_eos = np.isin(array, np.asarray(list(eos_ids)))
    mask = np.ones_like(is_eos)
    mask[:, 1:] = ~np.logical_or.accumulate(is_eos, axis=1)[:, :-1]
    return torch.from_numpy(mask).to(tokens.device)


def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    if group_size < 2 or rewards.shape[0] % group_size > 0:
        raise ValueError("groups")
    wide = torch.float64 if rewards.dtype == torch.float64 else torch.float32
    grouped = rewards.detach().double().cpu().numpy().reshape(-1, group_size)
    result = grouped - grouped.mean(axis=1, keepdims=True)
    if scale:
        result = result / (grouped.std(axis=1, ddof=1, keepdims=True) + eps)
    return torch.from_numpy(result.ravel()).to(rewards.device, wide)


def kl_estimate(log_probs, reference, kind):
    if log_probs.shape != reference.shape:
        raise ValueError("shapes")
    if kind not in {"k1", "k2", "k3"}:
        raise ValueError("kind")
    wide = torch.promote_types(log_probs.dtype, torch.float32)
    x = log_probs.to(wide) - reference.detach().to(wide)
    if kind == "k3":
        return x + torch.exp(-x) - 1.0
    return x if kind == "k1" else torch.square(x) * 0.5


class Surrogate(torch.autograd.Function):
    """-min(r A, clip(r) A), whose slope is -r A, or 0 where the clipped term is the smaller one."""

    @staticmethod
    def forward(ctx, log_ratio, A, low, high):
        ratio = log_ratio.exp()
        free, held = ratio * A, ratio.clamp(low, high) * A
        ctx.save_for_backward(torch.where(free <= held, -free, 0.0))
        return -torch.minimum(free, held)

    @staticmethod
    def backward(ctx, grad):
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None


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
    if reduction == "constant":
        if max_length is None or not max_length > 0:
            raise ValueError("max_length")
    elif reduction != "sequence" and reduction != "token":
        raise ValueError("reduction")
    if not (0 < clip_low < 1) or not (0 < clip_high) or not (0 <= beta) or (beta > 0 and reference is None):
        raise ValueError("options")
    if beta == 0:
        reference = None
    for each in (old_log_probs, mask) if reference is None else (old_log_probs, mask, reference):
        if each.shape != log_probs.shape:
            raise ValueError("shapes")
    if advantages.dim() != 1 or len(advantages) != len(log_probs):
        raise ValueError("advantages")
    wide = torch.promote_types(log_probs.dtype, torch.float32)
    new = log_probs.to(wide).masked_fill(mask.logical_not(), -1.0)
    old = old_log_probs.detach().to(wide).masked_fill(mask.logical_not(), -1.0)
    costs = Surrogate.apply(new - old, advantages.detach().to(wide)[:, None], 1 - clip_low, 1 + clip_high)
    if reference is not None:
        costs = costs.add(kl_estimate(new, reference.to(wide).masked_fill(mask.logical_not(), -1.0), "k3"), alpha=beta)
    tokens = mask.sum(dim=1, keepdim=True)
    divisor = {"sequence": tokens * len(mask), "token": tokens.sum(), "constant": len(mask) * (max_length or 0)}
    weights = torch.where(mask, 1.0 / torch.as_tensor(divisor[reduction], device=mask.device).to(wide), 0.0)
    return torch.einsum("bl,bl->", costs, weights)
