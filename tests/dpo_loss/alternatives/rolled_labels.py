"""Labels of -100 that are rolled to the left, log_softmax in chunks of positions that the backward pass makes again."""

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

IGNORED, CHUNK = -100, 512


class DPOResult:
    def __init__(self, loss: Tensor, chosen_rewards: Tensor, rejected_rewards: Tensor, accuracy: Tensor) -> None:
        self.loss, self.accuracy = loss, accuracy
        self.chosen_rewards, self.rejected_rewards = chosen_rewards, rejected_rewards


def of_chunk(logits, labels):
    scored = labels != IGNORED
    log_probs = torch.nn.functional.log_softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)), dim=2)
    picked = log_probs.gather(2, (labels * scored)[:, :, None])[:, :, 0]
    return torch.where(scored, picked, torch.zeros_like(picked)).sum(1)


def sequence_log_probs(logits, tokens, mask):
    if tokens.shape != mask.shape or tokens.shape != logits.shape[:-1]:
        raise ValueError("shapes")
    labels = tokens.clone()
    labels[~mask] = IGNORED
    labels[:, 0] = IGNORED
    labels = labels.roll(-1, dims=1)
    total = 0
    for z, t in zip(logits.split(CHUNK, 1), labels.split(CHUNK, 1), strict=True):
        total = total + checkpoint(of_chunk, z, t, use_reentrant=False)
    return total


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1, *, label_smoothing=0.0):
    shapes = [tuple(t.shape) for t in (policy_chosen, policy_rejected, reference_chosen, reference_rejected)]
    if shapes.count(shapes[0]) < 4:
        raise ValueError(f"shapes {shapes}")
    if not beta > 0 or not 0 <= label_smoothing < 0.5:
        raise ValueError("beta > 0, 0 <= label_smoothing < 0.5")

    def reward(policy, reference):
        dtype = torch.promote_types(policy.dtype, torch.float32)
        return beta * policy.to(dtype) - beta * reference.detach().to(dtype)

    chosen, rejected = reward(policy_chosen, reference_chosen), reward(policy_rejected, reference_rejected)
    # A softmax over the two responses of each pair, as in the Bradley-Terry model.
    preferred = torch.stack([chosen, rejected], -1).log_softmax(-1)
    weights = preferred.new_tensor([1 - label_smoothing, label_smoothing])
    loss = -(preferred * weights).sum(-1).mean()
    wins = (chosen > rejected).sum() / torch.ones_like(chosen).sum()
    return DPOResult(loss, chosen.detach(), rejected.detach(), wins.to(loss.dtype))
