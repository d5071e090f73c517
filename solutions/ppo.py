"""PPO for language models.

Write the heart of RLHF with PPO, all of it under a mask: rewards per token with the KL penalty, generalised advantage
estimation, whitening, the clipped policy loss, the clipped value loss and the entropy. What may a gradient reach, and
what happens at the step that ends an episode?

Time is the last dimension, and step t of a response is the choice of its token t. A mask is True where a token counts,
with any pattern of True and False. What stands under a False is anything, also NaN and infinities, and reaches
neither a value nor a gradient. Losses and the entropy are means over all True entries of the batch, not means of the
rows' means; where nothing is True they are 0, with a graph all the same.

Numbers: the floating arguments of one call have one dtype. Results are float64 for float64 inputs and float32 for all
narrower ones, and everything is computed in that dtype: widen before the first operation. No argument is modified.
Where a clip has its limit exactly, tests ask nothing.

Stage 1: the rewards, GAE of one episode, one clipped token, one clipped value, the entropy.  Stage 2: episodes that end in
the middle, bootstrapping, masks, whitening, wrong arguments.  Stage 3: gradients on all sides of the clips, huge ratios,
banned tokens, NaN under the mask, every floating dtype.  Stage 4: few operators a time step, whatever the batch.

Sources: Schulman et al., "High-Dimensional Continuous Control Using Generalized Advantage Estimation" (2016) and
"Proximal Policy Optimization Algorithms" (2017); Ouyang et al., "Training language models to follow instructions with
human feedback" (2022), for the penalty in the reward.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


# kata: begin
def widened(x: Tensor) -> Tensor:
    """x in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """The mean over the True entries, 0 if there is none. A NaN under a False comes back in x's gradient, as 0 * NaN."""
    return x.where(mask, 0.0).sum() / mask.sum().clamp(min=1)


def check_shapes(shape: torch.Size, **others: Tensor) -> None:
    """Raises ValueError if one of the others has another shape, because torch would broadcast it."""
    for name, other in others.items():
        if other.shape != shape:
            raise ValueError(f"{name} has shape {[*other.shape]} instead of {[*shape]}")


# kata: end


def token_rewards(
    scores: Float[Tensor, "batch"],
    log_probs: Float[Tensor, "batch length"],
    reference: Float[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
    beta: float,
) -> Float[Tensor, "batch length"]:
    """The reward of each token: the KL penalty, and at the last token of the response the reward model's score.

    Each True token gets -beta (log_probs - reference), and the last True token of a row its score on top, in full. 0
    elsewhere; a row without a True token gets nothing. The result carries no graph.
    Raises ValueError if the shapes do not match or beta is not at least 0.
    """
    # kata: begin
    check_shapes(log_probs.shape, reference=reference, mask=mask)
    check_shapes(log_probs.shape[:1], scores=scores)
    if not beta >= 0:
        raise ValueError(f"beta must be at least 0, got {beta}")
    log_ratio = widened(log_probs.detach()) - reference.detach()
    from_here = mask.flip(-1).cumsum(-1).flip(-1)  # the number of True tokens from each one on
    penalties = (-beta * log_ratio).where(mask, 0.0)
    return penalties + scores.detach()[:, None].where(mask & (from_here == 1), 0.0)
    # kata: end


def gae(
    rewards: Float[Tensor, "batch length"],
    values: Float[Tensor, "batch length"],
    dones: Bool[Tensor, "batch length"],
    last_values: Float[Tensor, "batch"],
    gamma: float,
    lam: float,
) -> tuple[Float[Tensor, "batch length"], Float[Tensor, "batch length"]]:
    """Generalised advantage estimates, and the returns, advantages + values: the value function's targets.

    values[:, t] is V of the state in which action t was taken; last_values is V of the state after the last action.
    dones[:, t] speaks about step t itself: action t ended the episode. Then the value after it counts as 0, and nothing
    that comes later in the row has any influence, even if it is NaN. Not done means bootstrapping, also at the last
    step: an episode that merely ran out of time has not ended.
        delta[t] = rewards[t] + gamma V[t + 1] - V[t]
        advantages[t] = delta[t] + gamma lam advantages[t + 1]
    with V[t + 1] and advantages[t + 1] 0 where t is done, and nothing to carry after the last step.

    The length is at least 1. There is no mask: a response's last token is done, so its padding has no influence.
    The results carry no graph. A loop over time is allowed, with at most 12 operators a step whatever the batch.
    Raises ValueError if the shapes do not match, or if gamma or lam is not in [0, 1].
    """
    # kata: begin
    check_shapes(rewards.shape, values=values, dones=dones)
    check_shapes(rewards.shape[:1], last_values=last_values)
    if not (0 <= gamma <= 1 and 0 <= lam <= 1):
        raise ValueError(f"gamma and lam must be in [0, 1], got {gamma} and {lam}")
    rewards, values, last_values = widened(rewards.detach()), widened(values.detach()), widened(last_values.detach())
    next_values = torch.cat([values[:, 1:], last_values[:, None]], 1).masked_fill(dones, 0.0)
    deltas = rewards + gamma * next_values - values
    carry = torch.zeros_like(last_values)
    advantages = torch.empty_like(deltas)
    for t in reversed(range(deltas.shape[1])):
        carry = deltas[:, t] + gamma * lam * carry.masked_fill(dones[:, t], 0.0)  # a product would keep a NaN
        advantages[:, t] = carry
    return advantages, advantages + values
    # kata: end


def whiten(x: Float[Tensor, "batch length"], mask: Bool[Tensor, "batch length"]) -> Float[Tensor, "batch length"]:
    """x with mean 0 and variance 1 over all True entries of the batch together; 0 under a False. It carries no graph.

    (x - mean) / sqrt(variance + 1e-8). The variance divides by n or by n - 1, as you like, but one True entry gives 0,
    and so do equal ones. x may lie as far from 0 as 1e4 times its deviation.
    Raises ValueError if the shapes differ.
    """
    # kata: begin
    check_shapes(x.shape, mask=mask)
    x = widened(x.detach())
    centred = x - masked_mean(x, mask)
    return (centred * (masked_mean(centred.square(), mask) + 1e-8).rsqrt()).where(mask, 0.0)
    # kata: end


def policy_loss(
    log_probs: Float[Tensor, "batch length"],
    old_log_probs: Float[Tensor, "batch length"],
    advantages: Float[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
    clip: float = 0.2,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The clipped surrogate loss, and the share of True tokens at which the clip bites.

    With r = exp(log_probs - old_log_probs), token by token, a token costs -min(r A, clamp(r, 1 - clip, 1 + clip) A). The
    clip bites where that is more than -r A. Advantages are used as they are. Gradients reach log_probs only, and the
    share carries no graph.

    A log-ratio may be as low as -1e4, and as high as 1e4 where the advantage is not negative: then the loss is clipped and
    the gradient 0. Where the advantage is negative, tests ask for log-ratios up to 15.
    Raises ValueError if the shapes differ or clip is not in (0, 1).
    """
    # kata: begin
    check_shapes(log_probs.shape, old_log_probs=old_log_probs, advantages=advantages, mask=mask)
    if not 0 < clip < 1:
        raise ValueError(f"clip must be in (0, 1), got {clip}")
    log_ratio = (widened(log_probs) - old_log_probs.detach()).where(mask, 0.0)  # stops a NaN on its way back, too
    advantages = widened(advantages.detach())
    # The minimum has one limit: the upper one for A >= 0, the lower one for A < 0. Clipped before the exponential, which
    # would overflow: 0 times infinity is NaN in the backward pass.
    highest, lowest = log_ratio.clamp(max=math.log1p(clip)), log_ratio.clamp(min=math.log1p(-clip))
    clipped = torch.where(advantages >= 0, highest, lowest)
    bites = (clipped != log_ratio) & (advantages != 0)
    return masked_mean(-clipped.exp() * advantages, mask), masked_mean(bites.to(advantages.dtype), mask)
    # kata: end


def value_loss(
    values: Float[Tensor, "batch length"],
    old_values: Float[Tensor, "batch length"],
    returns: Float[Tensor, "batch length"],
    mask: Bool[Tensor, "batch length"],
    clip: float | None = 0.2,
) -> Float[Tensor, ""]:
    """The clipped value loss, half the mean of max((V - R)^2, (V' - R)^2), where V' is V clamped to old_values +- clip.

    With clip=None it is half the mean squared error, and old_values has no influence. Gradients reach values only.
    Raises ValueError if the shapes differ, or if clip is neither positive nor None.
    """
    # kata: begin
    check_shapes(values.shape, old_values=old_values, returns=returns, mask=mask)
    if clip is not None and not clip > 0:
        raise ValueError(f"clip must be positive or None, got {clip}")
    values = widened(values).where(mask, 0.0)
    old_values, returns = widened(old_values.detach()), returns.detach()
    errors = (values - returns).square()
    if clip is not None:
        clipped = values.clamp(old_values - clip, old_values + clip)
        errors = torch.maximum(errors, (clipped - returns).square())
    return masked_mean(errors, mask) / 2
    # kata: end


def entropy(logits: Float[Tensor, "batch length vocab"], mask: Bool[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """The mean entropy in nats of the distributions softmax(logits), over the True positions.

    A logit of -inf is a banned token, which adds nothing and gets a gradient of 0; no position under a True has only
    those. Logits may be as large as 1e4. The entropy carries a graph: it is a bonus, which the caller subtracts from the
    loss. The number of operators does not grow with any size.
    Raises ValueError if the mask has not the shape [batch, length] of the logits.
    """
    # kata: begin
    check_shapes(logits.shape[:-1], mask=mask)
    logits = widened(logits).where(mask[..., None], 0.0)
    logits = logits.clamp(min=-1e9)  # -inf would give 0 times infinity, and so would the smallest number, scaled
    log_probs = logits.log_softmax(-1)
    return masked_mean(-(log_probs.exp() * log_probs).sum(-1), mask)
    # kata: end
