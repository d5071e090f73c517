"""GRPO: advantages within a group, and the clipped loss.

Eight answers to each prompt, a verifier, no critic. Write GRPO: the mask, the advantages, an estimate of the KL
divergence from samples, and the loss. What do DAPO and Dr. GRPO change, and which of the three estimates may be
differentiated?

An answer's advantage A is its reward, minus the mean of its group, over the standard deviation of its group. A token has
the ratio r = exp(log_probs - old_log_probs) of the policy that is trained and the one that sampled, and it costs
    -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) + beta k3
where k3 estimates the KL divergence from a frozen reference. With k1 = log_probs - reference, at a token that the policy
sampled,
    k1,    k2 = k1^2 / 2,    k3 = exp(-k1) - 1 + k1
are three estimates of it. Nothing but the ratio is clipped, and that only in the second term of the min.

Masks: True where a token counts. What stands under a False is anything, also NaN and infinities, and has no influence on
values or gradients. What counts is finite, and its two differences lie within [-80, 80].

Numbers: results are float64 for float64 log-probabilities or rewards and float32 for all narrower ones, and everything is
computed in that dtype: widen before the first operation. No argument is modified.

Stage 1: the mask, the advantages of groups, the three estimates, clipped tokens.  Stage 2: several EOS ids, padding,
reductions, empty rows, wrong arguments.  Stage 3: which token gets a gradient, NaN under the mask, every floating dtype.
Stage 4: no loop over groups, rows or tokens.

Sources: Shao et al., "DeepSeekMath" (2024), for GRPO; Yu et al., "DAPO" (2025), for "token" and the two clips; Liu et al.,
"Understanding R1-Zero-Like Training" (2025), for "constant" and advantages without a scale; Schulman, "Approximating KL
Divergence" (2020), for the estimates.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def completion_mask(tokens: Int64[Tensor, "batch length"], eos_ids: Sequence[int]) -> Bool[Tensor, "batch length"]:
    """True for the tokens of each row up to and including its first EOS, whichever of the ids that is.

    tokens are completions, without prompts. A row without an EOS was cut off: it is True throughout. What follows the
    first EOS may be any number, such as -100 or an EOS again. There is at least one id and one column.

    Memory grows with the number of tokens, not with the square of the length.
    """
    # kata: begin
    is_eos = torch.isin(tokens, torch.tensor([*eos_ids], device=tokens.device))
    ended_before = is_eos.cumsum(1) - is_eos.long()  # how many EOS stand before each token
    return ended_before == 0
    # kata: end


def group_advantages(
    rewards: Float[Tensor, "batch"], group_size: int, *, scale: bool = True, eps: float = 1e-4
) -> Float[Tensor, "batch"]:
    """(reward - mean) / (std + eps), with the mean and the standard deviation of the reward's own group.

    The answers to one prompt are adjacent: the first group_size rewards are the first group. std is the unbiased one,
    over group_size - 1. With scale=False nothing is divided: the result is reward - mean. A group whose rewards are all
    equal gives 0. rewards are finite, at least one group; eps is positive.

    The result carries no graph, even if rewards do. The number of operators does not grow with the number of groups.
    Raises ValueError if group_size is less than 2, or does not divide the number of rewards.
    """
    # kata: begin
    if group_size < 2 or len(rewards) % group_size:
        raise ValueError(f"{len(rewards)} rewards do not divide into groups of {group_size}, or these are below 2")
    groups = rewards.detach().to(torch.promote_types(rewards.dtype, torch.float32)).reshape(-1, group_size)
    advantages = groups - groups.mean(1, keepdim=True)
    if scale:
        advantages = advantages / (groups.std(1, keepdim=True) + eps)
    return advantages.flatten()
    # kata: end


def kl_estimate(
    log_probs: Float[Tensor, "*shape"], reference: Float[Tensor, "*shape"], kind: str
) -> Float[Tensor, "*shape"]:
    """The estimate "k1", "k2" or "k3" at each token, in nats: not averaged, not clamped.

    Both arguments have one dtype. The result is differentiable in log_probs. No gradient reaches the reference, even if
    it carries a graph. Raises ValueError if kind is another word, or if the two shapes differ.
    """
    # kata: begin
    if log_probs.shape != reference.shape:
        raise ValueError(f"log_probs {[*log_probs.shape]} and reference {[*reference.shape]} must have one shape")
    wide = torch.promote_types(log_probs.dtype, torch.float32)
    k1 = log_probs.to(wide) - reference.detach()
    if kind == "k1":
        return k1
    if kind == "k2":
        return k1.square() / 2
    if kind == "k3":
        return torch.expm1(-k1) + k1  # exp(-k1) - 1 loses its digits where policy and reference are near
    raise ValueError(f'kind must be "k1", "k2" or "k3", got {kind!r}')
    # kata: end


def grpo_loss(
    log_probs: Float[Tensor, "batch length"],
    old_log_probs: Float[Tensor, "batch length"],
    advantages: Float[Tensor, "batch"],
    mask: Bool[Tensor, "batch length"],
    *,
    reference: Float[Tensor, "batch length"] | None = None,
    beta: float = 0.0,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    reduction: str = "sequence",
    max_length: int | None = None,
) -> Float[Tensor, ""]:
    """The cost of the tokens that count, reduced to one number:
        "sequence"  the mean over the rows of the mean over a row's own tokens (GRPO)
        "token"     the sum over all tokens, over their number (DAPO)
        "constant"  the sum over all tokens, over batch * max_length (Dr. GRPO)
    A row without tokens costs 0, and in "sequence" it is still one of the rows. Where nothing counts at all the loss is 0,
    with a graph.

    All log-probabilities have one dtype; advantages have the same or float32, and are finite. With beta = 0 the reference
    has no influence. Gradients reach log_probs only: none reaches old_log_probs, reference or advantages, even if they
    carry a graph, or if old_log_probs is the same tensor as log_probs. The number of operators does not grow with batch
    or length.

    Raises ValueError if the shapes do not match, reduction is another word, "constant" comes without a positive
    max_length, beta is negative or NaN, beta is positive without a reference, clip_low is not in (0, 1), or clip_high is
    not positive.
    """
    # kata: begin
    if not log_probs.shape == old_log_probs.shape == mask.shape or advantages.shape != mask.shape[:1]:
        shapes = [[*each.shape] for each in (log_probs, old_log_probs, advantages, mask)]
        raise ValueError(f"the shapes of log_probs, old_log_probs, advantages and mask do not match: {shapes}")
    if not beta >= 0 or not 0 < clip_low < 1 or not clip_high > 0:
        raise ValueError(f"no valid options: beta={beta}, clip_low={clip_low}, clip_high={clip_high}")
    if beta and reference is None:
        raise ValueError(f"beta={beta} needs a reference")
    # Filled before any exp: no gradient comes back to what the costs leave out, not even 0 times NaN.
    log_probs = log_probs.to(torch.promote_types(log_probs.dtype, torch.float32)).where(mask, 0.0)
    ratio = (log_probs - old_log_probs.detach()).exp()
    advantage = advantages.detach()[:, None]
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    costs = -torch.minimum(ratio * advantage, clipped * advantage)
    if reference is not None:
        costs = costs + beta * kl_estimate(log_probs, reference, "k3")
    costs = costs.where(mask, 0.0)
    if reduction == "sequence":
        return (costs.sum(1) / mask.sum(1).clamp(min=1)).mean()
    if reduction == "token":
        return costs.sum() / mask.sum().clamp(min=1)
    if reduction == "constant" and max_length is not None and max_length > 0:
        return costs.sum() / (len(mask) * max_length)
    raise ValueError(f"no such reduction: {reduction!r} with max_length={max_length}")
    # kata: end
