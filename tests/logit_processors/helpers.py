"""What any right chain does to a row. All masses and ratios are far from the values that they are compared with."""

import torch
from torch import Tensor
from torch.distributions import Categorical

from dojo.testing import expect
from katas.logit_processors import SamplingParams, process_logits

INF = float("inf")

PROBS = torch.tensor([0.15, 0.5, 0.05, 0.3], dtype=torch.float64)  # unsorted; the best are tokens 1, 3, 0, 2
LOGITS = PROBS.log() + 3

NEAREST = "sort by |-log p - H|, nearest first; a token is in while the mass before it is below `mass`"


def kept(result):
    """The tokens of one row that were not dropped."""
    return (result > -INF).nonzero().flatten().tolist()


def only(logits, tokens):
    """The logits with all but these tokens dropped."""
    want = torch.full_like(logits, -INF)
    want[tokens] = logits[tokens]
    return want


def expect_logits(result, logits, *, what):
    """The result is one tensor, of the shape and dtype of the logits."""
    sort = f"{result.dtype} {list(result.shape)}" if isinstance(result, Tensor) else f"of type {type(result).__name__}"
    right = isinstance(result, Tensor) and result.shape == logits.shape and result.dtype == logits.dtype
    expect(right, f"{what} should be a {logits.dtype} tensor of shape {list(logits.shape)}, but is {sort}")
    expect(not result.isnan().any(), f"{what} should hold no NaN, but does", hint="0 * inf and inf - inf are NaN")


def processed(logits, prompt=(), generated=(), **params):
    """One row through the chain."""
    batch = logits[None]
    result = process_logits(batch, [list(prompt)], [list(generated)], [SamplingParams(**params)])
    expect_logits(result, batch, what="the result of process_logits")
    return result[0]


def expect_typical(logits, filtered, mass):
    """The definition, for one row without ties: no dropped token is nearer, enough mass, and not one token more."""
    expect_logits(filtered, logits, what="the result of typical_filter")
    model = Categorical(logits=logits)
    distance, inside = (model.logits + model.entropy()).abs(), filtered > -INF
    expect(inside.any(), f"something should be kept at mass={mass}, but every logit is -inf", hint=NEAREST)
    farthest = distance[inside].max()
    expect(
        not (~inside & (distance < farthest)).any(),
        f"at mass={mass} a token at distance {farthest:.4f} was kept, and a nearer one dropped",
        hint="distance is |-log p - H|; carry the mask back from sorted order to the tokens' own",
    )
    total, last = model.probs[inside].sum(), model.probs[distance == farthest].sum()
    expect(total >= mass - 1e-6, f"the kept mass should be at least {mass}, but is {total:.6f}", hint=NEAREST)
    expect(
        total - last < mass + 1e-6,
        f"the kept mass {total:.6f} would reach {mass} without the farthest kept token ({last:.6f}) too",
        hint="the *smallest* set: stop as soon as the mass is reached",
    )
