"""Stage 4. Capacity, FLOPs, no loop over tokens."""

import pytest
import torch
from torch import nn

from dojo.testing import (
    expect,
    expect_close,
    expect_equal,
    expect_flat_operators,
    expect_unchanged,
    randn,
)
from dojo.testing.modules import fill
from katas.moe_layer import MoELayer, expert_capacity, load_balancing_loss, route, within_capacity

from .helpers import (
    SINGLE,
    choosing_layer,
    expect_tokens,
    random_choices,
    random_layer,
    routed,
    tokens_of,
    tokens_that_choose,
)

ORDER = "the first choices of all tokens come before any second choice; among equal choices the order of the tokens"
ROUND = "math.ceil(factor * tokens * k / experts)"
TOKENS, EXPERTS, WIDTH, HIDDEN = 512, 8, 16, 64
CAPACITIES = [  # tokens, experts, k, factor, capacity
    (64, 8, 1, 1.0, 8),
    (64, 8, 2, 1.0, 16),
    (64, 8, 2, 1.25, 20),
    (65, 8, 1, 1.0, 9),
    (65, 8, 2, 1.0, 17),
    (10, 4, 1, 0.5, 2),
    (1, 8, 1, 1.0, 1),
    (3, 16, 2, 0.125, 1),
    (6, 4, 4, 4.0, 24),
    (5, 2, 1, 100, 250),
    (0, 8, 2, 1.0, 0),
]


@pytest.mark.parametrize(("tokens", "experts", "k", "factor", "want"), CAPACITIES, ids=str)
def test_the_capacity_is_rounded_up(tokens, experts, k, factor, want):
    """tokens * k assignments, spread evenly over the experts, times the factor. Rounded down, 65 tokens at a factor of 1
    would never all find a place."""
    got = expert_capacity(tokens, experts, k, factor)
    what = f"expert_capacity({tokens}, {experts}, {k}, {factor})"
    expect_equal(type(got), int, what=f"the type of {what}", hint=ROUND)
    expect_equal(got, want, what=what, hint=ROUND)


def kept(chosen, experts, capacity):
    """What within_capacity returns: booleans in the shape of chosen."""
    with expect_unchanged(chosen, what="chosen"):
        got = within_capacity(chosen, experts, capacity)
    tensor = isinstance(got, torch.Tensor)
    expect(tensor, f"within_capacity should return a tensor, but returned a {type(got).__name__}", hint=ORDER)
    expect_equal(list(got.shape), list(chosen.shape), what="the shape of within_capacity(...)", hint="[tokens, k]")
    expect_equal(got.dtype, torch.bool, what="the dtype of within_capacity(...)")
    return got


def test_a_worked_example_of_capacity():
    """Two places at each of three experts. First choices: tokens 0 and 1 fill expert 0, so token 2 finds no place there;
    token 3 takes one at expert 1. Second choices: token 0 takes the other one, so token 2 finds none again."""
    chosen = torch.tensor([[0, 1], [0, 2], [0, 1], [1, 0]])
    want = [[True, True], [True, True], [False, False], [True, False]]
    expect_equal(kept(chosen, 3, 2).tolist(), want, what=f"within_capacity({chosen.tolist()}, 3, 2)", hint=ORDER)


def test_one_choice_is_first_come_first_served():
    """Switch, k = 1: the first `capacity` tokens of each expert. Every expert has places of its own."""
    chosen = torch.tensor([[2], [0], [2], [2], [0], [2]])
    for capacity, want in ((0, "......"), (1, "xx...."), (2, "xxx.x."), (3, "xxxxx."), (4, "xxxxxx"), (99, "xxxxxx")):
        what = f"within_capacity({chosen.flatten().tolist()} as a column, 3, {capacity})"
        got = "".join(".x"[place] for place in kept(chosen, 3, capacity).flatten().tolist())
        expect_equal(got, want, what=f"{what}, x for a place", hint=ORDER)


@pytest.mark.parametrize(("tokens", "experts", "k"), [(9, 4, 2), (4, 4, 4), (7, 6, 3), (3, 5, 3), (1, 2, 1)], ids=str)
def test_places_go_to_first_choices_in_token_order(rng, tokens, experts, k):
    """For each expert by itself: those who come first in (choice, token) order have a place, as many as there are."""
    chosen = random_choices(rng, tokens, experts, k)
    for capacity in (1, 2, 3, tokens):
        places = kept(chosen, experts, capacity)
        for i in range(experts):
            got = places.T[chosen.T == i].tolist()
            what = f"who has one of {capacity} places at expert {i}, first choices first, for chosen={chosen.tolist()}"
            expect_equal(got, [j < capacity for j in range(len(got))], what=what, hint=ORDER)


def test_places_are_counted_exactly():
    """5000 tokens want expert 1. A running sum in half precision sticks at 2048 (256 in bfloat16)."""
    chosen = torch.ones(5000, 1, dtype=torch.int64)
    for capacity in (255, 4500):
        count = int(kept(chosen, 2, capacity).sum())
        what = f"how many of 5000 tokens find one of {capacity} places"
        expect_equal(count, capacity, what=what, hint="count in integers")


def test_no_tokens_need_no_places():
    """An empty batch is no error: there is nothing to route, and its loss is that of no token, 0."""
    expect_equal(kept(torch.zeros(0, 2, dtype=torch.int64), 3, 1).tolist(), [], what="the places of no tokens")
    loss = load_balancing_loss(torch.zeros(0, 3), torch.zeros(0, 2, dtype=torch.int64))
    expect_equal(loss, torch.tensor(0.0), what="the loss of no tokens", hint="divide by 1 if no token counts")


def test_a_token_without_a_place_gets_zeros(rng):
    """Not its own x: the residual connection around the layer adds that. Three tokens want expert 1, which has a place
    for one (capacity 4 / 4 = 1); it is not called for the others."""
    layer = choosing_layer(4, 1, capacity_factor=1.0)
    x = tokens_that_choose(rng, torch.tensor([[1], [1], [3], [1]]), 4)
    want = torch.stack([3 * x[0] + 2, 0 * x[0], 5 * x[2] + 4, 0 * x[0]])
    what, hint = "the layer of tokens that choose experts 1, 1, 3, 1 with a place each", "no place, no contribution"
    expect_close(layer(x), want, what=what, hint=hint, **SINGLE)
    expect_tokens(layer.experts[1], x[:1], "expert 1, with one place,")


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("renormalize", [True, False], ids=["renormalised", "not renormalised"])
def test_what_has_a_place_keeps_its_weight(rng, renormalize, training):
    """A token that has lost one of its two experts gets the other one's answer with the weight that it had: weights are
    not renormalised again. Experts are given those tokens only that have a place."""
    options = {"renormalize": renormalize, "capacity_factor": 0.625}
    chosen = random_choices(rng, 8, 5, 2)  # 16 assignments, and 2 places at each of 5 experts
    x, layer = tokens_that_choose(rng, chosen, 5), choosing_layer(5, 2, **options).train(training)
    got = layer(x)
    places, (weights, _) = kept(chosen, 5, 2), routed(x, 2, renormalize=renormalize)
    mixture = torch.zeros(8, 5).double().scatter(1, chosen, weights * places)
    answers = torch.stack([(i + 2) * x + i + 1 for i in range(5)])
    what = f"the layer with capacity_factor=0.625, renormalize={renormalize}, for chosen={chosen.tolist()}"
    hint = "weights from route, answers of experts with a place only; expert_capacity(tokens, experts, k, factor)"
    expect_close(got, torch.einsum("te,etd->td", mixture, answers), what=what, hint=hint, **SINGLE)
    for i, expert in enumerate(layer.experts):
        expect_tokens(expert, x[tokens_of(chosen.where(places, -1), i)], f"expert {i}, with 2 places,")


def test_all_texts_of_a_batch_share_the_places(rng):
    """[2, 6, dim] is 12 tokens, not twice 6: the second text finds places that the first has left."""
    chosen = random_choices(rng, 12, 3, 2)
    x, layer = tokens_that_choose(rng, chosen, 3), choosing_layer(3, 2, capacity_factor=0.5)
    what, hint = "the layer of two texts with a capacity, against one text of all tokens", "x.reshape(-1, dim) first"
    expect_close(layer(x.view(2, 6, 3)), layer(x).view(2, 6, 3), what=what, hint=hint, **SINGLE)


def test_with_places_for_all_nothing_changes(rng):
    """A factor of experts / k has a place for every token at every expert."""
    for k in (1, 2):
        plain, x = random_layer(rng, k=k), randn(rng, 2, 6, 4)
        layer = MoELayer(4, list(plain.experts), k, capacity_factor=5 / k).double()
        fill(layer.gate.weight, plain.gate.weight)
        want = plain(x)
        for expert in plain.experts:
            expert.given.clear()
        what = f"the layer with k={k} of 5 experts and capacity_factor={5 / k}, against the one without"
        expect_close(layer(x), want, what=what, hint="drop what has no place, and nothing else", **SINGLE)


def test_experts_compute_their_tokens_only(rng, cost):
    """k / experts of what all experts would cost for all tokens, and the gate. That is what an expert layer is for: the
    parameters of eight, the FLOPs of two."""
    mlps = [nn.Sequential(nn.Linear(WIDTH, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, WIDTH)) for _ in range(EXPERTS)]
    layer, x = MoELayer(WIDTH, mlps, 2), randn(rng, TOKENS, WIDTH).float()
    with cost() as spent:
        layer(x)
    flops, dense = (2 * TOKENS * WIDTH * n for n in (2 * 2 * HIDDEN + EXPERTS, EXPERTS * 2 * HIDDEN + EXPERTS))
    sentence = f"torch operators should do the work of the layer, but only {spent.flops} of {flops} FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="experts are called with tensors of torch")
    sentence = f"2 of 8 experts and the gate should cost {flops} FLOPs, at most 1.05x that, but cost {spent.flops}"
    sentence += f" (all experts on all tokens: {dense})"
    expect(spent.flops <= 1.05 * flops, sentence, hint="expert(tokens[row]): gather before, add back after")
    most = TOKENS * max(HIDDEN, 2 * WIDTH)
    sentence = f"no tensor should have more than {most} elements, tokens x hidden, but one has {spent.largest}"
    expect(spent.largest <= most, sentence, hint="nothing of the size [tokens, experts, hidden]")


def test_the_layer_makes_no_tensor_larger_than_k_times_x(rng, cost):
    """Experts whose answers are no larger than their tokens leave the layer's own tensors to be seen. A row for each
    token in each expert's answer would be [experts, tokens, dim]."""
    x = randn(rng, 64, WIDTH).float()
    for options in ({}, {"capacity_factor": 1.0}):
        layer = MoELayer(WIDTH, [nn.Identity() for _ in range(EXPERTS)], 2, **options)
        with cost() as spent:
            layer(x)
        sentence = f"the layer ({options or 'no options'}) should make no tensor of more than 2 x 64 x {WIDTH} elements"
        hint = "gather the rows of an expert, and add its answers to those rows"
        expect(spent.largest <= 2 * x.numel(), f"{sentence}, but one has {spent.largest}", hint=hint)


def test_operators_do_not_grow_with_the_tokens(rng):
    """A loop over experts takes 8 steps, one over tokens thousands, each of which launches kernels."""
    layer = choosing_layer(4, 2, capacity_factor=1.0).float()

    def chosen(tokens):
        return random_choices(rng, tokens, 4, 2)

    functions = {
        "route": (lambda z: route(z, 2), lambda tokens: (randn(rng, tokens, 4),)),
        "load_balancing_loss": (load_balancing_loss, lambda tokens: (randn(rng, tokens, 4), chosen(tokens))),
        "within_capacity": (lambda c: within_capacity(c, 4, 9), lambda tokens: (chosen(tokens),)),
        "MoELayer": (layer, lambda tokens: (randn(rng, tokens, 4).float(),)),
    }
    for name, (function, inputs) in functions.items():
        what = f"{name} of [tokens, ...]"
        hint = "no loop over tokens: sort, cumsum or one-hot count all places at once"
        expect_flat_operators(function, inputs, (64, 512), what=what, hint=hint, slack=4)
