"""Only the scored tokens are looked at, in one flat list, and added to their rows; the loss has a backward of its own."""

from typing import NamedTuple

import torch


class DPOResult(NamedTuple):
    loss: torch.Tensor
    chosen_rewards: torch.Tensor
    rejected_rewards: torch.Tensor
    accuracy: torch.Tensor


def sequence_log_probs(logits, tokens, mask):
    if mask.size() != logits.size()[:-1]:
        raise ValueError("mask")
    if tokens.size() != logits.size()[:-1]:
        raise ValueError("tokens")
    row, place = mask.nonzero(as_tuple=True)
    row, place = row[place > 0], place[place > 0]
    chosen = logits[row, place - 1]  # [scored, vocab]
    chosen = chosen.to(torch.promote_types(chosen.dtype, torch.float32))
    picked = chosen[torch.arange(len(row), device=row.device), tokens[row, place]]
    log_probs = picked - torch.logsumexp(chosen, 1)
    return log_probs.new_zeros(len(logits)).index_add(0, row, log_probs)


class Loss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, chosen, rejected, beta, smoothing):
        margin = beta * (chosen - rejected)
        ctx.save_for_backward(margin)
        ctx.beta, ctx.smoothing = beta, smoothing
        return (margin.neg().clamp(min=0) + margin.abs().neg().exp().log1p() + smoothing * margin).mean()

    @staticmethod
    def backward(ctx, grad):
        (margin,) = ctx.saved_tensors
        slope = grad * ctx.beta * (ctx.smoothing - torch.sigmoid(-margin)) / margin.numel()
        return slope, -slope, None, None


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1, *, label_smoothing=0.0):
    if not beta > 0:
        raise ValueError(beta)
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(label_smoothing)
    if not (policy_chosen.shape == policy_rejected.shape == reference_chosen.shape == reference_rejected.shape):
        raise ValueError("shapes")
    wide = torch.promote_types(torch.float32, policy_chosen.dtype)
    stacked = torch.stack([policy_chosen, policy_rejected]).to(wide)
    ratios = stacked - torch.stack([reference_chosen, reference_rejected]).detach().to(wide)
    loss = Loss.apply(*ratios, beta, label_smoothing)
    rewards = beta * ratios.detach()
    return DPOResult(loss, rewards[0], rewards[1], (rewards[0] > rewards[1]).to(wide).mean())
