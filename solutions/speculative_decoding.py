"""Speculative decoding.

A small model drafts a few tokens, one after the other, and the large one checks all of them in a single pass. Write the
check so that what comes out follows exactly the large model's distribution. How many tokens do you get for a pass?

With p the target's and q the draft's probabilities at one place, a token x that was drawn from q is kept with probability
min(1, p(x) / q(x)). At the first place where it is not, the token is drawn from what q has too little of,

    max(p - q, 0), normalised,

and the rest of the draft is thrown away. If all drafted tokens are kept, the target's next row gives one more for nothing.

Rules. The probabilities are those that were really sampled from, after temperature and filters; greedy decoding is
one-hot. Each place of each row decides by a draw of its own, and a replacement is drawn anew. A token with p(x) = 0 is
never kept, one with p(x) > 0 = q(x) always. Keep a token with the full probability min(1, p(x) / q(x)): to draw from p and
keep the draft where both agree is exact too, but it keeps less. Arithmetic in float32 at least, and in float64 for a target
in float64. Only if nothing at all is left of max(p - q, 0), draw from p: rounding can do that. A `generator` is the only
source of randomness. No argument is modified.

Stage 1: one drafted token, and `expected_tokens`.  Stage 2: several, rows of a batch, one-hot probabilities, wrong
arguments.  Stage 3: dtypes, tiny probabilities, generators.  Stage 4: all of the loop, with its calls counted; the
operators of a check do not grow with the batch and the draft, and read and write at most 48 times the bytes of both
probabilities.

Sources: Leviathan, Kalman and Matias, "Fast Inference from Transformers via Speculative Decoding" (2023), algorithm 1 and
equation 1; Chen et al., "Accelerating Large Language Model Decoding with Speculative Sampling" (2023).
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor


def verify(
    drafted: Int64[Tensor, "batch gamma"],
    draft_probs: Float[Tensor, "batch gamma vocab"],
    target_probs: Float[Tensor, "batch gamma+1 vocab"],
    *,
    generator: torch.Generator | None = None,
) -> tuple[Int64[Tensor, "batch gamma+1"], Int64[Tensor, "batch"]]:
    """(tokens, counts): row b emits the first counts[b] of its tokens, 1 to gamma + 1; the places behind them are -1.

    Rows [b, i] of the probabilities belong to the token drafted[b, i], the last row of the target's to the token after
    them. The two may have different dtypes. With gamma = 0 one token is drawn from the target. Raises ValueError if the
    shapes disagree, or if a row of probabilities has a negative one or does not sum to 1 within 0.01 (a half dtype rounds
    that much).
    """
    # kata: begin
    batch, gamma = drafted.shape
    vocab = target_probs.shape[-1]
    if draft_probs.shape != (batch, gamma, vocab) or target_probs.shape != (batch, gamma + 1, vocab):
        raise ValueError(
            f"{batch} rows of {gamma} drafted tokens need as many rows of the draft's probabilities and one more of the "
            f"target's, got {list(draft_probs.shape)} and {list(target_probs.shape)}"
        )
    wide = torch.promote_types(target_probs.dtype, torch.float32)
    p, q = (probs.to(wide) for probs in (target_probs, draft_probs))
    for probs in (p, q):
        if (probs < 0).any() or not ((probs.sum(-1) - 1).abs() <= 0.01).all():
            raise ValueError("a row of probabilities has a negative one, or does not sum to 1")

    at = drafted[..., None]
    p_x, q_x = p[:, :gamma].gather(-1, at)[..., 0], q.gather(-1, at)[..., 0]
    u = torch.rand(batch, gamma, generator=generator, device=p.device)
    accepted = u * q_x < p_x  # u < p / q, also where q is 0
    kept = accepted.cumprod(1)  # 1 up to the first refusal
    stop = kept.sum(1)  # its place, or the one behind the draft

    rows = torch.arange(batch, device=p.device)
    all_q = F.pad(q, (0, 0, 0, 1))  # behind the draft nothing was drafted, so all of p is missing there
    missing = (p[rows, stop] - all_q[rows, stop]).clamp(min=0)
    missing = torch.where(missing.sum(1, keepdim=True) > 0, missing, p[rows, stop])
    tokens = F.pad(drafted.masked_fill(kept == 0, -1), (0, 1), value=-1)
    tokens[rows, stop] = torch.multinomial(missing, 1, generator=generator).squeeze(1)
    return tokens, stop + 1
    # kata: end


def speculative_generate(
    target: Callable[[Int64[Tensor, "one n"]], Float[Tensor, "one n vocab"]],
    draft: Callable[[Int64[Tensor, "one n"]], Float[Tensor, "one n vocab"]],
    prompt: list[int],
    max_new_tokens: int,
    gamma: int,
    *,
    eos_token: int | None = None,
    generator: torch.Generator | None = None,
) -> list[int]:
    """The new tokens, max_new_tokens of them, or fewer if `eos_token` comes: it is the last one then.

    Both models return, for tokens [1, n], the probabilities of the token after each of the n: row i is the distribution of
    token i + 1. In a round the draft is called for one token after the other, at most gamma times, and the target once,
    on everything at once. Each round continues what the rounds before it have emitted, and nothing else. Raises ValueError
    if the prompt is empty, or max_new_tokens or gamma is negative; gamma = 0 is sampling from the target.
    """
    # kata: begin
    if not prompt or max_new_tokens < 0 or gamma < 0:
        raise ValueError(f"need a prompt and no negative numbers, got {prompt}, {max_new_tokens} and {gamma}")
    tokens, end = list(prompt), len(prompt) + max_new_tokens
    while len(tokens) < end:
        ahead, rows = list(tokens), []
        for _ in range(min(gamma, end - len(tokens) - 1)):  # the target adds one more
            row = draft(torch.tensor([ahead]))[0, -1]
            ahead.append(int(torch.multinomial(row, 1, generator=generator)))
            rows.append(row)
        target_probs = target(torch.tensor([ahead]))[:, len(tokens) - 1 :]
        draft_probs = torch.stack(rows)[None] if rows else target_probs[:, :0]
        drafted = torch.tensor([ahead[len(tokens) :]], dtype=torch.int64)
        new, counts = verify(drafted, draft_probs, target_probs, generator=generator)
        for token in new[0, : counts[0]].tolist():
            tokens.append(token)
            if token == eos_token:
                return tokens[len(prompt) :]
    return tokens[len(prompt) :]
    # kata: end


def expected_tokens(acceptance: float, gamma: int) -> float:
    """How many tokens a target call gives on average, if each drafted token is kept with probability `acceptance`.

    Raises ValueError if gamma is negative or `acceptance` is not within [0, 1].
    """
    # kata: begin
    if gamma < 0 or not 0 <= acceptance <= 1:
        raise ValueError(f"gamma should be at least 0 and the acceptance a probability, got {gamma} and {acceptance}")
    return sum(acceptance**i for i in range(gamma + 1))  # token i + 1 needs i acceptances
    # kata: end
