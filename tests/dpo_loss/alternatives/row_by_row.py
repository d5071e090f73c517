"""One row of the batch at a time in float32, and of it the scored positions only; softplus, and the policy's difference
minus the reference's."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass
class DPOResult:
    loss: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    accuracy: Tensor


def sequence_log_probs(logits, tokens, mask):
    if not (list(tokens.shape) == list(mask.shape) == list(logits.shape[:2])):
        raise ValueError(f"{tokens.shape}, {mask.shape} for {logits.shape}")
    dtype = torch.promote_types(logits.dtype, torch.float32)
    sums = []
    for z, t, scored in zip(logits, tokens, mask, strict=True):
        places = scored[1:].nonzero().flatten()
        log_probs = torch.log_softmax(z[places], -1, dtype=dtype)
        sums.append(log_probs[torch.arange(len(places), device=z.device), t[places + 1]].sum())
    return torch.stack(sums)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1, *, label_smoothing=0.0):
    if not beta > 0:
        raise ValueError("beta")
    if not (label_smoothing >= 0 and label_smoothing < 0.5):
        raise ValueError("label_smoothing")
    pc, pr, rc, rr = (
        each.double() if each.dtype == torch.float64 else each.float()
        for each in (policy_chosen, policy_rejected, reference_chosen.detach(), reference_rejected.detach())
    )
    if not pc.shape == pr.shape == rc.shape == rr.shape:
        raise ValueError("shapes")
    margin = beta * ((pc - pr) - (rc - rr))
    right, wrong = softplus(-margin), softplus(margin)
    with torch.no_grad():
        rewards = beta * (pc - rc), beta * (pr - rr)
        accuracy = torch.where(rewards[0] > rewards[1], 1.0, 0.0).to(margin).mean()
    return DPOResult(right.lerp(wrong, label_smoothing).mean(), *rewards, accuracy)
