"""TorchRL's GRPOLoss, its clipped objective and its two means, and its k3. It has its limits in float32, divides by no
constant, and its own penalty is a mean over all places, masked or not: it joins the costs of the tokens here."""

import torch
from torch import Tensor
from torchrl.objectives.llm import GRPOLoss
from torchrl.objectives.llm.distillation import k3_kl_token_estimate

MEANS = {"sequence": "prompt_mean", "token": "token_mean", "constant": "none"}


def widened(x):
    return x.to(torch.promote_types(x.dtype, torch.float32))


def completion_mask(tokens, eos_ids):
    ends = torch.stack([tokens == each for each in eos_ids]).any(0)
    return ends.cumsum(1).roll(1, 1).index_fill(1, torch.zeros(1, dtype=torch.int64, device=tokens.device), 0) == 0


def group_advantages(rewards, group_size, *, scale=True, eps=1e-4):
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError("group_size")
    groups = widened(rewards.detach()).view(-1, group_size)
    std, mean = torch.std_mean(groups, 1, keepdim=True)
    return ((groups - mean) / (std + eps if scale else 1)).view(-1)


def kl_estimate(log_probs, reference, kind):
    if log_probs.shape != reference.shape or kind not in ("k1", "k2", "k3"):
        raise ValueError("shapes or kind")
    log_probs, reference = widened(log_probs), widened(reference.detach())
    if kind == "k3":
        return k3_kl_token_estimate(reference, log_probs)
    difference = log_probs - reference
    return difference if kind == "k1" else difference**2 / 2


def grpo_loss(
    log_probs: Tensor,
    old_log_probs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    reference=None,
    beta=0.0,
    clip_low=0.2,
    clip_high=0.2,
    reduction="sequence",
    max_length=None,
):
    shape = mask.shape
    if log_probs.shape != shape or old_log_probs.shape != shape or advantages.shape != shape[:1]:
        raise ValueError("shapes")
    if not beta >= 0 or (beta > 0 and (reference is None or reference.shape != shape)):
        raise ValueError("beta")
    if not 0 < clip_low < 1 or not clip_high > 0 or reduction not in MEANS:
        raise ValueError("options")
    if reduction == "constant" and not (max_length is not None and max_length > 0):
        raise ValueError("max_length")
    new, old = (widened(each).masked_fill(~mask, 0.0) for each in (log_probs, old_log_probs.detach()))
    theirs = GRPOLoss(clip_epsilon=(clip_low, clip_high), aggregation=MEANS[reduction], device=mask.device)
    limits = torch.tensor([clip_low, clip_high], dtype=new.dtype, device=mask.device)
    theirs.clip_epsilon_low, theirs.clip_epsilon_high = limits
    costs, _ = theirs._compute_policy_objective(new - old, widened(advantages.detach())[:, None])
    if beta:
        costs = costs + beta * kl_estimate(new, reference.masked_fill(~mask, 0.0), "k3")
    if not mask.any():  # of which the mean is NaN
        return costs.sum() * 0
    loss = theirs._aggregate_loss_value(costs[..., None], mask)
    return loss.sum() / (len(mask) * max_length) if reduction == "constant" else loss.squeeze()
