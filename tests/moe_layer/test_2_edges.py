"""Stage 2. Dispatch and combine, experts without tokens, any leading dimensions, wrong arguments."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from dojo.testing.modules import expect_parameters, fill
from katas.moe_layer import MoELayer, expert_capacity, load_balancing_loss, route, within_capacity

from .helpers import DIM, EXPERTS, SINGLE, SUM, Expert, expect_tokens, random_layer, routed, tokens_of


def test_the_submodules_and_their_shapes():
    """The names are the interface: checkpoints are loaded by them. Mixtral's gate has no bias."""
    experts = [nn.Linear(3, 3), nn.Linear(3, 3)]
    layer = MoELayer(3, experts, 1)
    shapes = {"gate.weight": [2, 3]}
    for i in range(2):
        shapes |= {f"experts.{i}.weight": [3, 3], f"experts.{i}.bias": [3]}
    hint = "gate = nn.Linear(dim, number of experts, bias=False), experts = nn.ModuleList(experts)"
    expect_parameters(layer, shapes, what="MoELayer(3, 2 linear layers, 1)", hint=hint)
    expect_equal(sorted(layer.state_dict()), sorted(shapes), what="the names in the state_dict", hint=hint)
    same = all(a is b for a, b in zip(layer.experts, experts, strict=True))
    expect(same, "the experts should be the very modules that were passed in, but are others", hint="no copies")


def test_the_gate_starts_as_nn_linear_does():
    """Uniform between +-1 / sqrt(dim), a mean square of 1 / (3 dim)."""
    units = 8 * MoELayer(64, [nn.Identity() for _ in range(32)], 1).gate.weight.detach().double()
    largest, mean_square = units.abs().max().item(), units.square().mean().item()
    sentence = "a new gate.weight should be uniform between +-1 / sqrt(dim), but in units of 1 / sqrt(dim) its largest "
    sentence += f"is {largest:.3g}, and 3 times its mean square is {3 * mean_square:.3g}"
    right = 0.9 < largest <= 1.0001 and 0.85 < 3 * mean_square < 1.15
    expect(right, sentence, hint="leave nn.Linear's weights as they are made")


def test_a_worked_example_of_the_layer():
    """Expert i answers x + 10, x + 20 or x + 40. Token [1, 0] has probabilities 5/9, 3/9, 1/9, token [0, 1] 1/9, 2/9, 6/9:
    the first has 5/8 of expert 0 and 3/8 of expert 1, the second 6/8 of expert 2 and 2/8 of expert 1."""
    gate = torch.stack([numbers(5, 3, 1), numbers(1, 2, 6)], 1).log()
    x = torch.eye(2).double()
    for options, scale in (({}, 8), ({"renormalize": True}, 8), ({"renormalize": False}, 9)):
        experts = [Expert(2, lambda rows, c=c: rows + c) for c in (10, 20, 40)]
        layer = MoELayer(2, experts, 2, **options).double()
        fill(layer.gate.weight, gate, what="gate.weight")
        first, second = (5 * (x[0] + 10) + 3 * (x[0] + 20)) / scale, (6 * (x[1] + 40) + 2 * (x[1] + 20)) / scale
        what = f"the layer of [[1, 0], [0, 1]] with {options or 'no options'}"
        expect_close(layer(x), torch.stack([first, second]), what=what, hint=SUM, **SINGLE)


def test_each_expert_is_given_exactly_its_tokens(rng):
    """Once, unscaled, as [n, dim]. That is the point of the layer: an expert costs nothing for the tokens of others."""
    for k in (1, 2, 4):
        layer, x = random_layer(rng, k=k), randn(rng, 3, 6, DIM)
        layer(x)
        rows = x.reshape(-1, DIM)
        _, chosen = routed(layer.gate(rows), k)
        for i, expert in enumerate(layer.experts):
            expect_tokens(expert, rows[tokens_of(chosen, i)], f"expert {i} of {EXPERTS} (k={k})")


def test_one_expert_is_the_expert_itself(rng):
    """At k = 1 a renormalised weight is 1: each token gets what its expert answers, in the token's own place."""
    layer, x = random_layer(rng, k=1), randn(rng, 9, DIM)
    best = layer.gate(x).argmax(-1).tolist()
    want = torch.stack([layer.experts[i](token[None])[0] for i, token in zip(best, x, strict=True)])
    expect_close(layer(x), want, what="the layer at k=1, against each token's expert", hint=SUM, **SINGLE)


@pytest.mark.parametrize("renormalize", [True, False], ids=["renormalised", "not renormalised"])
def test_all_experts_are_a_dense_mixture(rng, renormalize):
    """At k = experts: the experts' mean, weighted by the softmax. Every token has as many answers to add up."""
    layer, x = random_layer(rng, k=EXPERTS, renormalize=renormalize), randn(rng, 9, DIM)
    want = torch.einsum("te,etd->td", layer.gate(x).softmax(-1), torch.stack([expert(x) for expert in layer.experts]))
    hint = f"{SUM}: add with index_add_, y[rows] = ... keeps the last answer only"
    expect_close(layer(x), want, what="the layer at k = experts, against the dense mixture", hint=hint, **SINGLE)


def test_equal_experts_are_as_good_as_one(rng):
    """Renormalised weights add up to 1; without renormalising, it is the k largest probabilities that they add up to."""
    x = randn(rng, 7, DIM)
    for renormalize in (True, False):
        layer = random_layer(rng, renormalize=renormalize)
        one = layer.experts[0]
        for expert in layer.experts[1:]:
            expert.load_state_dict(one.state_dict())
        share = 1 if renormalize else layer.gate(x).softmax(-1).topk(2).values.sum(-1, keepdim=True)
        what = f"the layer of {EXPERTS} equal experts, renormalize={renormalize}"
        expect_close(layer(x), share * one(x), what=what, hint=SUM, **SINGLE)


def test_experts_without_tokens_do_no_harm(rng):
    """Experts 0 and 2 of five get nothing here. The others answer as in a layer that has only them."""
    layer, x = random_layer(rng), randn(rng, 6, DIM).abs()
    with torch.no_grad():
        layer.gate.weight[[0, 2]] = -50.0  # x is positive, so that nobody comes
    rest = MoELayer(DIM, [layer.experts[i] for i in (1, 3, 4)], 2).double()
    fill(rest.gate.weight, layer.gate.weight[[1, 3, 4]], what="gate.weight")
    want = rest(x)
    for expert in layer.experts:
        expert.given.clear()
    hint = "skip such an expert, or give it [0, dim], and go on with the next"
    expect_close(layer(x), want, what="a layer in which two experts get nothing", hint=hint, **SINGLE)
    for i in (0, 2):
        expect_tokens(layer.experts[i], x[:0], f"expert {i}, which nobody chose,")


def test_the_order_of_experts_does_not_matter(rng):
    """Rows of the gate and experts, permuted alike, are the same layer."""
    layer, x = random_layer(rng), randn(rng, 8, DIM)
    order = [3, 0, 4, 2, 1]
    other = MoELayer(DIM, [layer.experts[i] for i in order], 2).double()
    fill(other.gate.weight, layer.gate.weight[order], what="gate.weight")
    expect_close(other(x), layer(x), what="the layer with its experts in another order", hint=SUM, **SINGLE)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_tokens_do_not_see_each_other(rng, k):
    """Without capacity, a token's answer depends on that token alone: on none of its neighbours, nor on its place."""
    layer, x = random_layer(rng, k=k, renormalize=False), randn(rng, 8, DIM)
    got = layer(x)
    expect_equal(list(got.shape), [8, DIM], what=f"the shape of the layer of x [8, {DIM}]")
    hint = "answers go back to the rows that they come from, with the weights of those rows"
    for token in range(8):
        what = f"token {token} of 8 (k={k}), against the token alone"
        expect_close(got[token], layer(x[token : token + 1])[0], what=what, hint=hint, **SINGLE)
    what = "the layer of permuted tokens, put back in order"
    order = torch.tensor([5, 2, 7, 0, 6, 1, 4, 3])
    expect_close(layer(x[order])[order.argsort()], got, what=what, hint=hint, **SINGLE)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 3), (2, 1, 3)], ids=str)
def test_any_leading_dimensions(rng, batch):
    """One token, a text, or batches of any shape."""
    layer, x = random_layer(rng), randn(rng, *batch, DIM)
    got = layer(x)
    expect_equal(list(got.shape), list(x.shape), what=f"the shape of the layer of x {list(x.shape)}")
    want, what = layer(x.reshape(-1, DIM)), f"the layer of {list(x.shape)}, against its rows"
    expect_close(got.reshape(-1, DIM), want, what=what, hint="x.reshape(-1, dim), and back at the end", **SINGLE)


def test_views_with_any_strides_work(rng):
    """Tokens come as a slice of a longer text, or as [n, batch, dim]."""
    layer, x = random_layer(rng), randn(rng, 2, 3, DIM)
    want = layer(x)
    for name, view in (
        ("a transpose", x.transpose(0, 1).contiguous().transpose(0, 1)),
        ("features behind each other", x.permute(2, 0, 1).contiguous().permute(1, 2, 0)),
        ("a slice", torch.cat([x, x], 1)[:, :3]),
    ):
        expect_close(layer(view), want, what=f"the layer of {name}", hint="reshape, not view", **SINGLE)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_training_and_evaluation_are_the_same(rng, training):
    """No noise on the gate, no jitter on x (which a known library multiplies into the caller's tensor)."""
    layer, x = random_layer(rng).train(training), randn(rng, 9, DIM)
    with torch.no_grad():
        with expect_unchanged(x, what="x"):
            first = layer(x)
        want = torch.cat([layer(x[:4]), layer(x[4:])])
    mode = "training" if training else "evaluation"
    expect_close(first, want, what=f"the layer in {mode}, called again", hint="no noise, no dropout", **SINGLE)


def test_layers_share_nothing(rng):
    """Two layers of one size, each with its own weights and options: using one leaves the other alone."""
    one, x = random_layer(rng), randn(rng, 6, DIM)
    want = one(x)
    random_layer(rng, k=1, renormalize=False, capacity_factor=0.5)
    random_layer(rng, experts=3, k=3)(x[:2])
    expect_close(one(x), want, what="a layer after others have been made and called", hint="keep it in self", **SINGLE)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_a_wrong_k_is_an_error(k):
    """Of three experts, a token has one, two or three."""
    with expect_raises(ValueError, what=f"route of 3 experts with k={k}", hint="1 <= k <= experts"):
        route(torch.zeros(2, 3), k)
    with expect_raises(ValueError, what=f"MoELayer of 3 experts with k={k}", hint="check when it is made"):
        MoELayer(2, [nn.Identity() for _ in range(3)], k)


def test_no_experts_are_an_error():
    """No k is in [1, 0]."""
    with expect_raises(ValueError, what="MoELayer(2, [], 1)", hint="1 <= k <= experts"):
        MoELayer(2, [], 1)


@pytest.mark.parametrize("factor", [0, 0.0, -1.0, float("nan")])
def test_wrong_capacity_factors_are_errors(factor):
    """0 is no way to say that there is no limit: None is."""
    with expect_raises(ValueError, what=f"MoELayer with capacity_factor={factor}", hint="above 0, or None"):
        MoELayer(2, [nn.Identity()], 1, capacity_factor=factor)


@pytest.mark.parametrize("wrong", [-1, EXPERTS, 99])
def test_wrong_choices_are_errors_in_the_loss(wrong):
    """An index of -1 would be counted as the last expert, or crash."""
    with expect_raises(ValueError, what=f"load_balancing_loss with expert {wrong} of {EXPERTS}", hint="check chosen"):
        load_balancing_loss(torch.zeros(2, EXPERTS), torch.tensor([[0, 1], [wrong, 2]]))


@pytest.mark.parametrize(("k", "factor"), [(0, 1.0), (5, 1.0), (-1, 1.0), (1, 0.0), (1, -0.5), (1, float("nan"))])
def test_wrong_arguments_of_the_capacity_are_errors(k, factor):
    """k in [1, experts], factor above 0."""
    with expect_raises(ValueError, what=f"expert_capacity(8, 4, {k}, {factor})", hint="check before computing"):
        expert_capacity(8, 4, k, factor)


@pytest.mark.parametrize(("wrong", "capacity"), [(-1, 2), (3, 2), (99, 2), (1, -1)])
def test_wrong_arguments_of_the_places_are_errors(wrong, capacity):
    """An expert outside [0, experts), or less than no place."""
    what = f"within_capacity([[0, 1], [{wrong}, 2]], 3, {capacity})"
    with expect_raises(ValueError, what=what, hint="check chosen and capacity"):
        within_capacity(torch.tensor([[0, 1], [wrong, 2]]), 3, capacity)
