"""Stage 3. The balancing loss, masks, every floating dtype, gradients."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_graph,
    expect_slope,
    expect_unchanged,
    numbers,
    randint,
    randn,
    roundings,
)
from katas.moe_layer import MoELayer, load_balancing_loss

from .helpers import DIM, EXPERTS, SINGLE, Expert, random_layer, routed

LOSS = "experts * sum_i f_i P_i: f_i = (how often i is chosen) / (tokens * k), P_i = mean of softmax(logits)_i"
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
TRUE_FALSE = torch.tensor([1, 0, 1, 1, 0, 1, 0]).bool()


def choices(rng, tokens, k, experts=EXPERTS):
    """Logits, and k different experts for each token that have nothing to do with them."""
    return 2 * randn(rng, tokens, experts), randn(rng, tokens, experts).topk(k).indices


def test_a_worked_example_of_the_loss():
    """Three tokens at (0.51, 0.49) choose expert 0, one at (0, 1) chooses expert 1: f = (3/4, 1/4), P = (0.3825, 0.6175),
    2 (0.286875 + 0.154375) = 0.8825. Below 1, although one expert gets three quarters: 1 is no lower bound."""
    logits = torch.stack([numbers(0.51, 0.49).log()] * 3 + [numbers(-800, 0)])
    got = load_balancing_loss(logits, torch.tensor([[0], [0], [0], [1]]))
    what = "the loss of three tokens at log (0.51, 0.49) and one at (-800, 0)"
    expect_close(got, numbers(0.8825)[0], what=what, hint=LOSS, **SINGLE)


def test_the_loss_of_one_token():
    """One token with one choice: f is 1 at that expert, and the loss is the number of experts times its probability."""
    for choice, want in ((0, 1.5), (1, 0.9), (2, 0.6)):
        got = load_balancing_loss(numbers(5, 3, 2).log()[None], torch.tensor([[choice]]))
        what = f"the loss of one token at log [5, 3, 2] that chooses expert {choice}"
        expect_close(got, numbers(want)[0], what=what, hint=LOSS, **SINGLE)


@pytest.mark.parametrize("k", [1, 2, EXPERTS])
def test_the_loss_of_equal_logits_is_one(rng, k):
    """P_i = 1 / experts for all i, so that it doesn't matter what is chosen: all f_i add up to 1, whatever k is. (In
    some libraries they add up to k.)"""
    _, chosen = choices(rng, 7, k)
    got = load_balancing_loss(torch.full((7, EXPERTS), 0.75).double(), chosen)
    hint = f"{LOSS}; all f_i add up to 1"
    expect_close(got, numbers(1.0)[0], what=f"the loss of equal logits at k={k}", hint=hint, **SINGLE)


def test_second_choices_count_as_first_ones():
    """P = (0.5, 0.3, 0.2) for both tokens, who choose (0, 1) and (0, 2): f = (2, 1, 1) / 4, and the loss is
    3 (1.0 + 0.3 + 0.2) / 4. In which place an expert is chosen does not matter."""
    logits = numbers(5, 3, 2).log().expand(2, 3)
    for chosen in ([[0, 1], [0, 2]], [[1, 0], [0, 2]], [[1, 0], [2, 0]]):
        what = f"the loss of log [5, 3, 2] twice, with chosen={chosen}"
        got = load_balancing_loss(logits, torch.tensor(chosen))
        expect_close(got, numbers(1.125)[0], what=what, hint=LOSS, **SINGLE)


def test_a_collapse_costs_the_number_of_experts():
    """All tokens, and all probability, at one expert: f = P = (0, 1, 0, 0, 0)."""
    logits = 100 * torch.eye(EXPERTS).double()[1].expand(6, -1)
    got = load_balancing_loss(logits, torch.ones(6, 1, dtype=torch.int64))
    expect_close(got, numbers(5.0)[0], what="the loss where one of 5 experts gets all", hint=LOSS, **SINGLE)


def test_f_is_counted_from_what_is_chosen(rng):
    """The router may have added noise or a bias, so that the chosen ones are not those of the largest logits. The loss is
    a sum over assignments: that of n tokens with k choices is the mean of n k losses, each of all logits and one
    choice for everybody."""
    for tokens, k in ((5, 1), (6, 2), (4, 3)):
        logits, chosen = choices(rng, tokens, k)
        with expect_unchanged(logits, chosen, what="an argument"):
            got = load_balancing_loss(logits, chosen)
        each = [load_balancing_loss(logits, choice.expand(tokens, 1)) for choice in chosen.flatten()]
        what = f"the loss of {tokens} tokens with k={k}, against the mean over its assignments"
        expect_close(got, torch.stack(each).mean(), what=what, hint=LOSS, **SINGLE)


@pytest.mark.parametrize("k", [1, 3])
def test_padding_counts_neither_in_f_nor_in_p(rng, k):
    """Masked tokens might as well not be there, however loud their logits are."""
    logits, chosen = choices(rng, 7, k)
    logits[~TRUE_FALSE] = 1e4 * randn(rng, 3, EXPERTS)
    chosen[~TRUE_FALSE] = torch.arange(k)
    with expect_unchanged(logits, chosen, TRUE_FALSE, what="an argument"):
        got = load_balancing_loss(logits, chosen, mask=TRUE_FALSE)
    want = load_balancing_loss(logits[TRUE_FALSE], chosen[TRUE_FALSE])
    hint = "take masked tokens out of the counts, out of the mean of P, and out of both divisors"
    what = f"the loss with 3 of 7 tokens masked (k={k}), against that of the other 4"
    expect_close(got, want, what=what, hint=hint, **SINGLE)
    got = load_balancing_loss(logits, chosen, mask=torch.ones(7).bool())
    expect_close(got, load_balancing_loss(logits, chosen), what="the loss with a mask of True", hint=hint, **SINGLE)


def test_the_loss_of_nothing_is_zero(rng):
    """A micro-batch may hold padding only. 0 / 0 would reach every weight by the gradient."""
    logits, chosen = choices(rng, 3, 2)
    logits.requires_grad_()
    loss = load_balancing_loss(logits, chosen, mask=torch.zeros(3).bool())
    hint = "divide by the number of tokens that count, or by 1 if there are none"
    expect_equal(loss, numbers(0.0)[0], what="the loss where all tokens are masked", hint=hint)
    backward(loss, what="the loss where all tokens are masked")
    expect_equal(logits.grad.abs(), torch.zeros_like(logits), what="its gradient", hint=hint)


def test_float64_keeps_its_digits(rng):
    """logits.float(), as in many a model, halves the digits of float64. Tests of gradients need them."""
    logits = 2 * randn(rng, 5, EXPERTS)
    hint = "widen narrower dtypes only: torch.promote_types(logits.dtype, torch.float32)"
    weights, chosen = routed(logits, 2)
    total, digits = weights.sum(-1), {"hint": hint, "rtol": 1e-12, "atol": 1e-12}
    expect_close(total, torch.ones(5).double(), what="the sums of float64 weights", **digits)
    z = logits.gather(1, chosen)
    what = "log(w_0 / w_1) of float64 weights"
    expect_close((weights[:, 0] / weights[:, 1]).log(), z[:, 0] - z[:, 1], what=what, **digits)
    got = load_balancing_loss(numbers(1, 2).log().expand(3, 2), torch.tensor([[1], [0], [1]]))
    expect_close(got, numbers(10 / 9)[0], what="the loss of log [1, 2] three times, with choices 1, 0, 1", **digits)


@pytest.mark.parametrize("mask", [None, TRUE_FALSE], ids=["all tokens", "masked"])
def test_the_loss_has_the_gradient_of_p_alone(rng, mask):
    """Finite differences in float64. f is a count, which has no slope: the gradient comes through P, and grows with f.
    A constant loss trains nothing."""
    logits, chosen = choices(rng, 7, 2)
    hint = "no detach(), and softmax in float64 for float64; f is counted, not made from probabilities"
    expect_gradients(lambda z: load_balancing_loss(z, chosen, mask=mask), [logits], what="the loss", hint=hint)


@EVERY
def test_routing_works_in_every_floating_dtype(rng, dtype):
    """Weights have the dtype of the logits. Those differ by 1/8 at least. Tolerance: 2 roundings of 1."""
    logits = torch.stack([torch.randperm(9, generator=rng) for _ in range(6)]).double() / 8
    for renormalize in (True, False):
        want, experts = routed(logits, 3, renormalize=renormalize)
        got, chosen = routed(logits.to(dtype), 3, renormalize=renormalize)
        expect_equal(chosen, experts, what=f"the experts in {dtype}")
        what = f"the weights in {dtype}, renormalize={renormalize}, beside float64"
        expect_close(got.double(), want, what=what, hint="convert the result back", **roundings(2, dtype))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_close_logits_are_told_apart_in_half_precision(dtype):
    """One unit in the last place beside 1/16: the probabilities differ by less than a half-precision number can say. In
    float32 they do not tie."""
    step = torch.finfo(dtype).eps / 16
    logits = torch.tensor([[0.0625, 0.0625 + step], [0.0625 + step, 0.0625]], dtype=dtype).repeat(8, 4)
    logits[:, 2:] = -1.0
    _, chosen = routed(logits, 1)
    what = f"the experts of logits 1/16 and {step:.1g} more, in {dtype}, in turns"
    hint = "softmax(..., dtype=torch.float32) before top k: in half precision the two probabilities are one number"
    expect_equal(chosen.flatten().tolist(), [1, 0] * 8, what=what, hint=hint)


@EVERY
def test_huge_logits_stay_finite(dtype):
    """exp(8192) overflows in every dtype; a softmax that subtracts the maximum does not. The other probabilities are 0."""
    logits = torch.tensor([[-8192.0, 8192.0, 0.0], [-8192.0, -8192.0, -8192.0]], dtype=dtype)
    for renormalize in (True, False):
        weights, chosen = routed(logits, 2, renormalize=renormalize)
        expect_equal(int(chosen[0, 0]), 1, what=f"the first expert of [-8192, 8192, 0] in {dtype}")
        half = 1 / 2 if renormalize else 1 / 3
        want = torch.tensor([[1.0, 0.0], [half, half]], dtype=dtype)
        expect_close(weights, want, what=f"the weights of huge logits in {dtype}, renormalize={renormalize}")
    loss = load_balancing_loss(logits, torch.tensor([[1], [0]]))
    want = torch.tensor(3 * (1 / 2 * (1 + 1 / 3) / 2 + 1 / 2 * (1 / 3) / 2), dtype=dtype)
    expect_close(loss, want, what=f"the loss of huge logits in {dtype}", hint="one softmax")


@EVERY
def test_the_loss_works_in_every_floating_dtype(rng, dtype):
    """It has the dtype of the logits. Those are multiples of 1/8. Tolerance: 2 roundings of the loss."""
    logits, chosen = randint(rng, -16, 17, 40, EXPERTS).double() / 8, choices(rng, 40, 2)[1]
    for mask in (None, torch.arange(40) % 3 > 0):
        want = load_balancing_loss(logits, chosen, mask=mask)
        got = load_balancing_loss(logits.to(dtype), chosen, mask=mask)
        expect_equal(got.dtype, dtype, what=f"the loss's dtype for {dtype} logits", hint="convert back")
        expect_close(got.double(), want, what=f"the loss in {dtype}, beside float64", **roundings(2, dtype, want))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_many_tokens_are_counted_in_half_precision(dtype):
    """float16 ends at 65504, and bfloat16 counts to 256. All of 70 000 tokens choose expert 0, at a probability of 1/2."""
    for masked in (False, True):
        mask = torch.ones(70_000).bool() if masked else None
        got = load_balancing_loss(torch.zeros(70_000, 2, dtype=dtype), torch.zeros(70_000, 1).long(), mask=mask)
        what = f"the loss of 70 000 tokens in {dtype}"
        what = f"{what}, with a mask of True" if masked else what
        expect_close(got, torch.tensor(1.0, dtype=dtype), what=what, hint="counts and sums in float32 or integers")


def test_small_probabilities_count_in_half_precision():
    """All 6 tokens choose expert 0, whose probability of 1.3e-8 is 0 in float16. 64 times that is not."""
    logits = torch.zeros(6, 64, dtype=torch.float16)
    logits[:, 0] = -14.0
    got = load_balancing_loss(logits, torch.zeros(6, 1, dtype=torch.int64))
    hint = "softmax and mean in float32; only the loss goes back to float16"
    want = torch.tensor(64 * 1.3197e-8)
    what = "the float16 loss of an unlikely expert that gets all tokens"
    expect_close(got.float(), want, what=what, hint=hint, rtol=0, atol=1.2e-7)


@EVERY
def test_the_layer_works_in_every_floating_dtype(rng, dtype):
    """Against float64. The gate hands on multiples of 1/2, so that it chooses alike. Tolerance: 24 roundings of the
    largest sum in an expert."""
    layers = [MoELayer(6, [Expert(6) for _ in range(6)], 2).to(each) for each in (dtype, torch.float64)]
    state = {name: randn(rng, *values.shape).to(dtype) for name, values in layers[0].state_dict().items()}
    state["gate.weight"] = torch.eye(6, dtype=dtype)
    for layer in layers:
        layer.load_state_dict(state)
    x = torch.stack([torch.randperm(6, generator=rng) for _ in range(10)]).to(dtype) / 2
    got, want = layers[0](x.view(2, 5, 6)), layers[1](x.double()).view(2, 5, 6)
    largest = max((x.double() @ expert.weight.abs() + expert.bias.abs()).max().item() for expert in layers[1].experts)
    expect_equal(got.dtype, dtype, what=f"the layer's dtype for {dtype}", hint="keep the dtype of x")
    expect_close(got.double(), want, what=f"the layer in {dtype}, beside float64", **roundings(24, dtype, largest))


def test_weights_have_the_gradients_of_the_softmax(rng):
    """The gate learns through the weights alone: which experts are chosen has no slope. At k = 1 a renormalised weight is
    1 whatever the gate says, so that it learns nothing; that is why Switch does not renormalise."""
    logits = 2 * randn(rng, 4, EXPERTS)
    for k, renormalize in ((2, True), (1, False), (3, False)):
        what = f"the weights of route at k={k}, renormalize={renormalize}"
        expect_gradients(lambda z, k=k, r=renormalize: routed(z, k, renormalize=r)[0], [logits], what=what)
    leaf = logits.clone().requires_grad_()
    weights, _ = routed(leaf, 1)
    expect_graph(weights, what="the weights of route at k=1")
    backward(weights.sum())
    what = "the gradient of one renormalised weight"
    expect_close(leaf.grad, torch.zeros_like(leaf), what=what, hint="it is 1 for any logits")


@pytest.mark.parametrize("options", [{}, {"renormalize": False}, {"capacity_factor": 0.6}], ids=str)
def test_the_gradients_of_the_layer_are_those_of_the_function(rng, options):
    """Finite differences in float64, for x, through experts and gate, and for every weight. The gate gets its gradient
    through the weights, so it must not run under no_grad."""
    layer, x = random_layer(rng, experts=3, dim=2, **options), randn(rng, 4, 2)
    expect_gradients(layer, [x], what=f"the layer with {options or 'no options'}")
    factors = randn(rng, 4, 2)

    def loss():
        return (layer(x) * factors).sum()

    backward(loss(), what="the layer")
    for name, parameter in layer.named_parameters():
        if parameter.grad is None and "experts" in name:  # of an expert that got nothing
            continue
        expect_slope(loss, parameter, rng, name=name, hint="weight * expert(x), with a graph through both")


def test_an_expert_gets_gradients_from_its_tokens_alone(rng):
    """Whatever other tokens do to the loss: the expert's gradient is that of a batch without them."""
    layer, x = random_layer(rng, k=1), randn(rng, 8, DIM)
    best = layer.gate(x).argmax(-1)
    mine = best == best[0]
    own = layer.experts[int(best[0])]
    gradients = []
    for tokens in (x, x[mine]):
        out = layer(tokens)
        expect(out.shape == tokens.shape, f"the layer of x {list(x.shape)} should keep its shape")
        gradients.append(torch.autograd.grad((out if tokens is not x else out[mine]).sin().sum(), own.weight)[0])
    what = "the gradient of an expert's weight, against a batch of its tokens alone"
    expect_close(*gradients, what=what, hint="each expert sees its own tokens only", **SINGLE)
