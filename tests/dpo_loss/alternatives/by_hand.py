"""The log-sum-exp written out; logaddexp in place of the log-sigmoid. Everything in float64, returned in float32."""

from collections import namedtuple

import torch

DPOResult = namedtuple("DPOResult", "loss chosen_rewards rejected_rewards accuracy")


def narrowed(x, like):
    return x.to(torch.float64 if like.dtype == torch.float64 else torch.float32)


def sequence_log_probs(logits, tokens, mask):
    batch, length, _ = logits.shape
    if tokens.shape != (batch, length) or mask.shape != (batch, length):
        raise ValueError("tokens and mask are [batch, length]")
    z = logits[:, : length - 1]
    scored = mask[:, 1:]
    labels = torch.masked_fill(tokens[:, 1:], ~scored, 0)
    highest = z.detach().amax(-1, keepdim=True)
    shifted = z.to(torch.float32 if z.dtype != torch.float64 else z.dtype) - highest
    picked = torch.take_along_dim(shifted, labels.unsqueeze(-1), -1).squeeze(-1)
    log_probs = picked - shifted.exp().sum(-1).log()
    return narrowed(log_probs.masked_fill(~scored, 0.0).double().sum(-1), logits)


def dpo_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta=0.1, *, label_smoothing=0.0):
    given = policy_chosen, policy_rejected, reference_chosen, reference_rejected
    if any(each.shape != policy_chosen.shape for each in given):
        raise ValueError("one shape for all")
    if beta != beta or beta <= 0:
        raise ValueError("beta")
    if label_smoothing != label_smoothing or not 0 <= label_smoothing < 1 / 2:
        raise ValueError("label_smoothing")
    pc, pr = policy_chosen.double(), policy_rejected.double()
    rc, rr = reference_chosen.data.double(), reference_rejected.data.double()
    chosen, rejected = (pc - rc).mul(beta), (pr - rr).mul(beta)
    # -log sigmoid(chosen - rejected) = log(exp(chosen) + exp(rejected)) - chosen
    both = torch.logaddexp(chosen, rejected)
    losses = both - (1 - label_smoothing) * chosen - label_smoothing * rejected
    accuracy = torch.count_nonzero(chosen > rejected) / len(losses)
    results = losses.sum() / len(losses), chosen.detach(), rejected.detach(), accuracy.detach()
    return DPOResult(*(narrowed(each, policy_chosen) for each in results))
