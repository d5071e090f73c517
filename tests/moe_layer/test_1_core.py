"""Stage 1. Routing: which experts, with which weights."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_unchanged, numbers, randn

from .helpers import SINGLE, routed

BOTH = pytest.mark.parametrize("renormalize", [True, False], ids=["renormalised", "not renormalised"])


def test_a_worked_example():
    """Logits log [5, 1, 3, 1] are probabilities of 0.5, 0.1, 0.3, 0.1. The two largest add up to 0.8."""
    logits = numbers(5, 1, 3, 1).log()[None]
    for options, want in (({}, (0.625, 0.375)), ({"renormalize": True}, (0.625, 0.375))):
        weights, chosen = routed(logits, 2, **options)
        words = f"route(log [[5, 1, 3, 1]], 2{', renormalize=True' if options else ''})"
        expect_equal(chosen.tolist(), [[0, 2]], what=f"the experts of {words}", hint="the largest first")
        hint = "softmax over all experts, top k, then divided by the sum of the k: 0.5 / 0.8 and 0.3 / 0.8"
        expect_close(weights, numbers(*want)[None], what=f"the weights of {words}", hint=hint, **SINGLE)


def test_without_renormalising_the_probabilities_stay():
    """Switch and Qwen2-MoE: 0.5 and 0.3. A softmax of the two logits alone would renormalise them."""
    weights, chosen = routed(numbers(5, 1, 3, 1).log()[None], 2, renormalize=False)
    words = "route(log [[5, 1, 3, 1]], 2, renormalize=False)"
    expect_equal(chosen.tolist(), [[0, 2]], what=f"the experts of {words}", hint="the largest first")
    hint = "the softmax is over all experts, and what top k picks stays as it is"
    expect_close(weights, numbers(0.5, 0.3)[None], what=f"the weights of {words}", hint=hint, **SINGLE)


@BOTH
def test_every_token_has_its_own_experts(rng, renormalize):
    """A token's weights and experts are the same beside other tokens and alone, also where tokens == experts."""
    for tokens in (2, 6):
        logits = 2 * randn(rng, tokens, 6)
        weights, chosen = routed(logits, 3, renormalize=renormalize)
        for token in range(tokens):
            alone, experts = routed(logits[token : token + 1], 3, renormalize=renormalize)
            what, hint = f"of token {token} of {tokens}, against the token alone", "softmax and top k along dim -1"
            expect_equal(chosen[token], experts[0], what=f"the experts {what}", hint=hint)
            expect_close(weights[token], alone[0], what=f"the weights {what}", hint=hint, **SINGLE)


@BOTH
def test_the_k_largest_are_chosen_in_their_order(rng, renormalize):
    """The chosen logits fall from first to last, and no other logit is above the last."""
    logits = 2 * randn(rng, 7, 6)
    for k in (1, 2, 4, 6):
        _, chosen = routed(logits, k, renormalize=renormalize)
        expect(chosen.min() >= 0 and chosen.max() < 6, f"chosen should hold experts from 0 to 5, but is {chosen}")
        want = torch.sort(logits, descending=True).values[:, :k]
        hint = "topk(k) of the probabilities gives weights and experts in one order"
        expect_close(logits.gather(1, chosen), want, what=f"the logits of the {k} chosen experts", hint=hint)


@BOTH
def test_weights_belong_to_their_experts(rng, renormalize):
    """log(w_a / w_b) = z_a - z_b in either mode: weights are softmax probabilities, up to a factor for each token."""
    logits = 2 * randn(rng, 5, 6)
    weights, chosen = routed(logits, 4, renormalize=renormalize)
    z, hint = logits.gather(1, chosen), "the weight in place j is that of the expert in place j, from one softmax"
    what = "log(w_0 / w_j), against the difference of the logits"
    expect_close((weights[:, :1] / weights).log(), z[:, :1] - z, what=what, hint=hint, **SINGLE)


def test_renormalised_weights_add_up_to_one(rng):
    """Whatever k is; one expert alone has the weight 1, so that its size says nothing about how sure the gate is."""
    logits = 2 * randn(rng, 5, 6)
    for k in (1, 2, 5, 6):
        weights, _ = routed(logits, k)
        what, hint = f"the sum of each token's {k} weights", "divide by the sum of the k, along dim -1"
        expect_close(weights.sum(-1), torch.ones(5).double(), what=what, hint=hint, **SINGLE)


def test_the_weights_of_all_experts_are_the_softmax(rng):
    """At k = experts nothing is left out: both modes agree. And without renormalising, a smaller k only cuts off."""
    logits = 2 * randn(rng, 5, 6)
    whole, _ = routed(logits, 6, renormalize=False)
    what = "the sum of all 6 weights of a token, not renormalised"
    expect_close(whole.sum(-1), torch.ones(5).double(), what=what, hint="softmax over all experts", **SINGLE)
    expect_close(routed(logits, 6)[0], whole, what="all 6 weights, renormalised or not", **SINGLE)
    for k in (1, 3):
        weights, _ = routed(logits, k, renormalize=False)
        what = f"{k} weights that are not renormalised, against the first {k} of 6"
        expect_close(weights, whole[:, :k], what=what, hint="softmax over all experts, then top k", **SINGLE)


@BOTH
def test_a_constant_in_all_logits_does_not_matter(rng, renormalize):
    """The softmax sees differences only. Independent sigmoids for each expert are another gate."""
    logits = 2 * randn(rng, 5, 6)
    with expect_unchanged(logits, what="logits"):
        weights, chosen = routed(logits, 2, renormalize=renormalize)
    for shift in (7.0, -40.0):
        moved, experts = routed(logits + shift, 2, renormalize=renormalize)
        expect_equal(experts, chosen, what=f"the experts of logits + {shift}")
        expect_close(moved, weights, what=f"the weights of logits + {shift}", hint="softmax, not sigmoid", **SINGLE)


def test_experts_of_equal_probability_share_the_weight():
    """Which of them is chosen is up to you, but k different ones are."""
    for k in (1, 2, 4):
        for renormalize, want in ((True, 1 / k), (False, 1 / 4)):
            weights, chosen = routed(torch.full((3, 4), 0.5).double(), k, renormalize=renormalize)
            what = f"the weights of {k} of 4 equal logits, renormalize={renormalize}"
            expect_close(weights, torch.full((3, k), want).double(), what=what, **SINGLE)
            different = all(len({*experts}) == k for experts in chosen.tolist())
            expect(different, f"each token should have {k} different experts, but chosen is {chosen.tolist()}")
