"""What any right top-p sampler does. Tokens are never compared under a fixed seed: only supports and distributions.
Every p is far from the masses that it is compared with, unless the test says that both answers are right."""

import torch

from dojo.testing import expect

N = 4000
INF = float("inf")

PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15], dtype=torch.float64)  # unsorted

CROSSING = "sort descending; a token is in while the mass *before* it is below p, so the one that crosses p is in"


def kept(filtered):
    """The tokens of one row that were not dropped."""
    return (filtered > -INF).nonzero().flatten().tolist()


def only(probs, tokens):
    """`probs` on these tokens alone, summing to 1."""
    chosen = torch.zeros_like(probs)
    chosen[tokens] = probs[tokens]
    return chosen / chosen.sum()


def expect_nucleus(logits, filtered, p):
    """The definition, for one row of distinct logits: an upper set, of mass >= p, that no member can leave."""
    inside = filtered > -INF
    probs = logits.softmax(-1)
    expect(inside.any(), f"something should be kept at p={p}, but every logit is -inf", hint=CROSSING)
    least = probs[inside].min()
    mass = probs[inside].sum()
    expect(
        not (~inside & (probs > least)).any(),
        f"at p={p} a token of probability {least:.4f} was kept, and a more probable one dropped",
        hint="carry the mask back from sorted order to the tokens' own (scatter along the sort's indices)",
    )
    expect(mass >= p - 1e-6, f"the kept mass should be at least p={p}, but is {mass:.6f}", hint=CROSSING)
    expect(
        mass - least < p + 1e-6,
        f"at p={p} the kept mass {mass:.6f} would still be enough without the least probable kept token ({least:.6f})",
        hint="the *smallest* set: stop as soon as p is reached",
    )
