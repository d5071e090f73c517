"""Minus the summed cross-entropy, with -100 for what is not scored; the loss is a binary cross-entropy with logits, whose
target is 1 minus the smoothing."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class DPOResult(NamedTuple):
    loss: Tensor
    chosen_rewards: Tensor
    rejected_rewards: Tensor
    accuracy: Tensor


def widened(x):
    return x if x.dtype == torch.float64 else x.float()


def sequence_log_probs(logits, tokens, mask):
    if tokens.shape != logits.shape[:2] or mask.shape != tokens.shape:
        raise ValueError("shapes")
    labels = torch.where(mask, tokens, -100)[:, 1:]
    losses = F.cross_entropy(widened(logits[:, :-1]).transpose(1, 2), labels, reduction="none", ignore_index=-100)
    return -losses.sum(1)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1, *, label_smoothing=0.0):
    policy = policy_chosen, policy_rejected
    with torch.no_grad():
        reference = [widened(each) for each in (reference_chosen, reference_rejected)]
    if len({each.shape for each in (*policy, *reference)}) != 1:
        raise ValueError("shapes")
    if not (beta > 0 and 0 <= label_smoothing < 0.5):
        raise ValueError("options")
    ratios = [widened(p) - r.detach() for p, r in zip(policy, reference, strict=True)]
    margin = beta * (ratios[0] - ratios[1])
    loss = F.binary_cross_entropy_with_logits(margin, torch.full_like(margin, 1 - label_smoothing))
    chosen, rejected = (beta * each.detach() for each in ratios)
    return DPOResult(loss, chosen, rejected, (chosen - rejected > 0).to(loss.dtype).mean())
