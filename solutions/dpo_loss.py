"""The DPO loss.

You have pairs of answers, one preferred, and no wish for a reward model. Write DPO from the logits up: the
log-probability of a response, the loss, and the implicit rewards. Why is there a reference model, and why a sum and not
a mean over tokens?

The log-probability of a response is the sum of its tokens' log-probabilities, each given all tokens before it. With
pc, pr those of the chosen and of the rejected response under the policy, and rc, rr under the frozen reference,
    m    = beta ((pc - rc) - (pr - rr))                                 the margin of a pair
    loss = mean over the pairs of -(1 - s) log sigmoid(m) - s log sigmoid(-m)
where s is the label smoothing, the share of labels that are taken to be swapped (conservative DPO: nothing is divided
by 1 - 2 s). The implicit reward of a response is beta (policy - reference).

Numbers: results are float64 for float64 inputs and float32 for all narrower ones, and everything is computed in that
dtype: widen before the first operation. A margin may be as large as 1e4, on either side. No argument is modified.

Stage 1: the log-probability of a response, the loss, the rewards.  Stage 2: prompts, padding on either side, empty
responses, smoothing, wrong arguments.  Stage 3: margins of 1e4, banned tokens, every floating dtype, gradients,
references that carry a graph.  Stage 4: few passes over the vocabulary, and no loop over tokens.

Sources: Rafailov et al., "Direct Preference Optimization: Your Language Model is Secretly a Reward Model" (2023);
Mitchell, "A note on DPO with noisy preferences & relationship to IPO" (2023), for the smoothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def sequence_log_probs(
    logits: Float[Tensor, "batch length vocab"],
    tokens: Int64[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
) -> Float[Tensor, "batch"]:
    """The log-probability of each row's response: the sum, not the mean, over the tokens that are scored.

    logits[:, i] predicts tokens[:, i + 1]. mask[:, j] is True where token j belongs to the response and is scored.
    Token 0 is never scored, whatever its mask, because nothing predicts it. Prompt and padding are False, at either
    end or both. A token that is not scored may be any number, such as -100, and has no influence; scored ones lie in
    [0, vocab).
    A row without a scored token gives 0, also where the length is 1; there is a graph all the same.

    A logit of -inf is a banned token; no position has only those, and no logit is +inf or NaN. A response with a banned
    token has log-probability -inf. Logits whose successor is not scored have no influence, and their gradient is 0.

    For float32 logits it reads and writes at most 9 times as many numbers as there are logits: a one-hot matrix costs
    too much. The number of operators does not grow with the length (a loop over the rows of the batch is allowed).
    Raises ValueError if tokens and mask do not both have the shape [batch, length] of the logits.
    """
    # kata: begin
    if not logits.shape[:-1] == tokens.shape == mask.shape:
        raise ValueError(f"logits {[*logits.shape]}, tokens {[*tokens.shape]} and mask {[*mask.shape]} do not match")
    # Position i speaks about token i + 1: logits lose the last position, tokens and mask the first.
    logits, tokens, mask = logits[:, :-1], tokens[:, 1:], mask[:, 1:]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = tokens.where(mask, 0)  # -100 is no index
    log_probs = logits.gather(-1, index[..., None]).squeeze(-1) - logits.logsumexp(-1)  # [batch, length - 1]
    return log_probs.where(mask, 0.0).sum(-1)  # where, not a product: 0 times -inf would be NaN
    # kata: end


class DPOResult(NamedTuple):
    """What dpo_loss returns, all in one dtype. Only the loss carries a graph."""

    loss: Float[Tensor, ""]
    chosen_rewards: Float[Tensor, "batch"]
    rejected_rewards: Float[Tensor, "batch"]
    accuracy: Float[Tensor, ""]  # the share of pairs whose chosen reward is larger; a tie is wrong


def dpo_loss(
    policy_chosen: Float[Tensor, "batch"],
    policy_rejected: Float[Tensor, "batch"],
    reference_chosen: Float[Tensor, "batch"],
    reference_rejected: Float[Tensor, "batch"],
    beta: float = 0.1,
    *,
    label_smoothing: float = 0.0,
) -> DPOResult:
    """The loss of the pairs, the implicit rewards, and how often they prefer the chosen response.

    The arguments are log-probabilities of whole responses, finite and of one dtype, of at least one pair. The loss is
    differentiable in those of the policy. No gradient reaches those of the reference, even if they carry a graph.
    Raises ValueError if the four shapes differ, if beta is not positive, or if label_smoothing is not in [0, 0.5).
    """
    # kata: begin
    if not policy_chosen.shape == policy_rejected.shape == reference_chosen.shape == reference_rejected.shape:
        raise ValueError("the four log-probabilities must have one shape")
    if not beta > 0:
        raise ValueError(f"beta must be positive, got {beta}")
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing must be in [0, 0.5), got {label_smoothing}")
    wide = torch.promote_types(policy_chosen.dtype, torch.float32)
    chosen = beta * (policy_chosen.to(wide) - reference_chosen.detach())
    rejected = beta * (policy_rejected.to(wide) - reference_rejected.detach())
    margin = chosen - rejected
    losses = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    accuracy = (chosen > rejected).to(wide).mean()
    return DPOResult(losses.mean(), chosen.detach(), rejected.detach(), accuracy)
    # kata: end
