"""Stage 1. Parameters, the start at zero, both branches, the final layer."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, numbers, randn
from dojo.testing.modules import expect_parameters, fill
from katas.dit_block import DiTBlock, FinalLayer

from .helpers import (
    DIM,
    FORMULA,
    HIDDEN,
    LAST,
    READERS,
    random_block,
    random_final,
    reads,
    set_modulation,
    transparent_block,
    transparent_final,
)

LAYERS = {"qkv": (3 * DIM, DIM), "proj": (DIM, DIM), "fc1": (HIDDEN, DIM), "fc2": (DIM, HIDDEN)}
NEAR = {"rtol": 1e-5, "atol": 1e-5}  # eps = 1e-6 is left out of the examples


def test_the_parameters_of_the_block():
    """The names are the interface: checkpoints are loaded by them. The norms have none, the condition takes their place."""
    shapes = LAYERS | {"modulation": (6 * DIM, DIM)}
    shapes = {f"{n}.{p}": s[: 2 if p == "weight" else 1] for n, s in shapes.items() for p in ("weight", "bias")}
    block, what = DiTBlock(DIM, 2, 1.5), f"DiTBlock({DIM}, 2, mlp_ratio=1.5)"
    hint = "qkv, proj, fc1, fc2 and modulation are nn.Linear with bias; the norms have no parameters; silu is no module's part"
    expect_parameters(block, shapes, what=what, hint=hint)
    expect_equal(sorted(block.state_dict()), sorted(shapes), what=f"the names in the state_dict of {what}", hint=hint)
    fixed = [name for name, parameter in block.named_parameters() if not parameter.requires_grad]
    expect_equal(fixed, [], what="the parameters that cannot train", hint="zero at the start does not mean frozen")


def test_the_parameters_of_the_final_layer():
    """One linear layer to patch_size^2 * out_channels numbers, and a modulation of two vectors."""
    shapes = {"linear.weight": [12, 5], "linear.bias": [12], "modulation.weight": [10, 5], "modulation.bias": [10]}
    layer, what = FinalLayer(5, 2, 3), "FinalLayer(5, patch_size=2, out_channels=3)"
    hint = "linear: dim -> patch_size^2 * out_channels, modulation: dim -> 2 dim; the norm has no parameters"
    expect_parameters(layer, shapes, what=what, hint=hint)
    expect_equal(sorted(layer.state_dict()), sorted(shapes), what=f"the names in the state_dict of {what}", hint=hint)
    fixed = [name for name, parameter in layer.named_parameters() if not parameter.requires_grad]
    expect_equal(fixed, [], what="the parameters that cannot train", hint="zero at the start does not mean frozen")


def test_the_modulation_starts_at_zero_and_nothing_else():
    """Zeros in a gate and in what it gates as well would be a block that never learns."""
    parameters = dict(DiTBlock(32, 4, 2.0).named_parameters())
    for name in ("modulation.weight", "modulation.bias"):
        count = int(parameters[name].count_nonzero())
        hint = "nn.init.zeros_ for weight and bias, after everything else that sets weights"
        expect_equal(count, 0, what=f"the number of nonzero values in {name} of a new block", hint=hint)
    for name in ("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight"):
        count, size = parameters[name].unique().numel(), parameters[name].numel()
        sentence = f"{name} of a new block should be drawn at random, but its {size} numbers have {count} values"
        expect(count > size / 2, sentence, hint="only the modulation starts at zero")


def test_the_final_layer_starts_at_zero():
    """Weight and bias of both: a new model predicts 0, whatever it is shown."""
    for name, parameter in FinalLayer(8, 2, 3).named_parameters():
        count = int(parameter.count_nonzero())
        hint = "nn.init.zeros_ for weight and bias, after everything else that sets weights"
        expect_equal(count, 0, what=f"the number of nonzero values in {name} of a new final layer", hint=hint)


@pytest.mark.parametrize("size", [1.0, 1e4], ids=["c of 1", "c of 1e4"])
def test_a_new_block_is_the_identity(rng, size):
    """Bit by bit, for any condition: with gates of zero the branches add nothing. A deep model starts as no model."""
    x, c = randn(rng, 2, 3, 32).float(), (size * randn(rng, 2, 32)).float()
    got = DiTBlock(32, 4)(x.clone(), c.clone())
    hint = (
        "x + gate * branch, where gates start at zero: nothing is added to a gate, and the stream has no gate or norm"
    )
    expect_close(got, x, what=f"a new block of x, with c around {size:g},", hint=hint, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("which", [1, 2])
def test_a_gate_of_zero_closes_its_branch(rng, which):
    """With both at zero nothing is left but x, whatever the weights, the shifts and the scales are."""
    block, x, c = random_block(rng), randn(rng, 2, 3, DIM), randn(rng, 2, DIM)
    others = {name: randn(rng, DIM) for name in ("shift1", "scale1", "shift2", "scale2")}
    set_modulation(block, **others)
    what = "the block with gates of zero and random weights, shifts and scales"
    expect_close(block(x.clone(), c.clone()), x, what=what, hint=FORMULA, rtol=0.0, atol=0.0)
    set_modulation(block, **others, **{f"gate{which}": numbers(1, 0, -2, 0, 0, 3)})
    still = (block(x.clone(), c.clone()) - x)[..., [1, 3, 4]]
    what = f"what the block adds to features 1, 3 and 4 for gate{which} = [1, 0, -2, 0, 0, 3] and a closed other branch"
    expect_close(still, 0 * still, what=what, hint=f"{FORMULA}; a gate for each feature")


def test_the_attention_branch_of_a_worked_example():
    """[5, 1, 5, 1] has mean 3 and variance 4, so norm gives [1, -1, 1, -1]. Of one token attention makes what proj and v do,
    here nothing: it answers with what it reads, [1, -1, 1, -1] * (1 + [1, 0, -3, 2]) + [1, 2, 5, 4] = [3, 1, 3, 1]."""
    block = set_modulation(transparent_block(4), shift1=numbers(1, 2, 5, 4), scale1=numbers(1, 0, -3, 2))
    bias = block.get_parameter("modulation.bias")
    fill(bias[8:12], numbers(2, 1, 1, -1))
    got = block(numbers(5, 1, 5, 1)[None, None], numbers(1, 2, 3, 4)[None])
    want = numbers(5 + 2 * 3, 1 + 1, 5 + 3, 1 - 1)[None, None]
    what = "the block of x = [5, 1, 5, 1] for shift1 = [1, 2, 5, 4], scale1 = [1, 0, -3, 2], gate1 = [2, 1, 1, -1]"
    hint = "x + gate1 * attention(norm(x) * (1 + scale1) + shift1); the order is shift, scale, gate, attention first"
    expect_close(got, want, what=what, hint=hint, **NEAR)


def test_the_mlp_branch_of_a_worked_example():
    """The same numbers for the mlp, whose layers here answer with what they read."""
    modulation = {"shift2": numbers(1, 2, 5, 4), "scale2": numbers(1, 0, -3, 2), "gate2": numbers(2, 1, 1, -1)}
    got = set_modulation(transparent_block(4), **modulation)(numbers(5, 1, 5, 1)[None, None], numbers(1, 2, 3, 4)[None])
    want = numbers(5 + 2 * 3, 1 + 1, 5 + 3, 1 - 1)[None, None]
    what = "the block of x = [5, 1, 5, 1] for shift2 = [1, 2, 5, 4], scale2 = [1, 0, -3, 2], gate2 = [2, 1, 1, -1]"
    hint = "h + gate2 * mlp(norm(h) * (1 + scale2) + shift2); the order is shift, scale, gate, attention first"
    expect_close(got, want, what=what, hint=hint, **NEAR)


def test_the_final_layer_of_a_worked_example():
    """The same shift and scale, without a gate and without a residual, and then 10 times feature 0 plus 7."""
    layer = set_modulation(transparent_final(4), shift=numbers(1, 2, 5, 4), scale=numbers(1, 0, -3, 2))
    fill(layer.get_parameter("linear.weight")[0, 0], 10.0)
    fill(layer.get_parameter("linear.bias")[0], 7.0)
    got = layer(numbers(5, 1, 5, 1)[None, None], numbers(1, 2, 3, 4)[None])
    what = "the final layer of x = [5, 1, 5, 1] for shift = [1, 2, 5, 4] and scale = [1, 0, -3, 2]"
    hint = f"{LAST}: shift comes first, and x is not added"
    expect_close(got, numbers(37, 1, 3, 1)[None, None], what=what, hint=hint, **NEAR)


@pytest.mark.parametrize("reader", READERS)
def test_the_norm_takes_out_the_mean_and_the_size(rng, reader):
    """A token of variance v becomes one of variance v / (v + 1e-6), in its own direction, whatever its mean."""
    size = numbers(1e-3, 1e-2, 1.0, 1e2)
    x = randn(rng, 4, DIM)
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, correction=0, keepdim=True)
    got = reads(reader, size[:, None] * x + numbers(0, 1e-3, -10, 20)[:, None])
    hint = "(x - mean) / sqrt(var + eps) with eps=1e-6 in the root and var with 1 / dim: layer_norm without weight and bias"
    what = f"what {reader} reads of tokens of standard deviation [0.001, 0.01, 1, 100], without shift and scale"
    want = x * (size**2 / (size**2 + 1e-6)).sqrt()[:, None]
    expect_close(got, want, what=what, hint=hint, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("which", ["gate1", "gate2", "shift"])
def test_the_condition_passes_through_silu(rng, which):
    """silu(c) / c is a sigmoid, whose log-odds are c itself. The linear layer comes after it, so that twice the weight is
    twice the modulation. Both branches answer with ones here."""
    c = torch.cat([2 * randn(rng, 1, 4), numbers(-1.2785, 0.5)[None]], -1)
    if which == "shift":
        module, x, first = transparent_final(6), torch.zeros(1, 1, 6).double(), 0
    else:
        shift = {f"shift{which[-1]}": 1.0, f"scale{which[-1]}": -1.0}
        module, x, first = set_modulation(transparent_block(6), **shift), torch.zeros(1, 1, 6).double(), 6 * 2
        first += 18 * (which == "gate2")
    fill(module.get_parameter("modulation.weight")[first : first + 6], 2 * torch.eye(6).double())
    share = module(x, c.clone())[0] / (2 * c)
    what = f"log(s / (1 - s)) for s = {which} / (2 c), where modulation's weight for {which} is 2,"
    hint = "modulation(silu(c)), silu(z) = z * sigmoid(z); nothing comes behind modulation"
    expect_close((share / (1 - share)).log(), c, what=what, hint=hint, rtol=1e-6, atol=1e-6)


def test_the_mlp_uses_the_gelu_of_tanh():
    """gelu(z) / z = (1 + tanh(u)) / 2 is a sigmoid of 2 u. By the error function it would be up to 5e-4 another answer."""
    z = numbers(-2.5, -1.5, -0.5, 0.5, 1.5, 2.5)
    block = set_modulation(transparent_block(6), shift2=z, scale2=-1.0, gate2=1.0)
    for name in ("fc1.bias", "fc2.bias"):
        fill(block.get_parameter(name), 0.0)
    share = block(torch.zeros(1, 1, 6).double(), torch.ones(1, 6).double())[0] / z
    want = math.sqrt(8 / math.pi) * (z + 0.044715 * z**3)
    what = f"log(s / (1 - s)) for s = gelu(z) / z at z = {z.tolist()}"
    hint = 'F.gelu(z, approximate="tanh"), between fc1 and fc2'
    expect_close((share / (1 - share)).log()[0], want, what=what, hint=hint, rtol=1e-6, atol=1e-6)


def test_the_mlp_reads_what_attention_has_added(rng):
    """With scale1 = -1 attention reads shift1 alone, and answers with it: x plus a. The mlp reads the norm of that."""
    x, a, c = randn(rng, 2, 3, DIM), 3 * randn(rng, DIM), randn(rng, 2, DIM)
    mlp = {"shift2": randn(rng, DIM), "scale2": randn(rng, DIM), "gate2": randn(rng, DIM)}
    got = set_modulation(transparent_block(DIM), shift1=a, scale1=-1.0, gate1=1.0, **mlp)(x.clone(), c.clone())
    want = set_modulation(transparent_block(DIM), **mlp)(x + a, c.clone())
    what = "the block of x where attention adds a, against the block of x + a where it adds nothing"
    hint = f"{FORMULA}: one branch after the other"
    expect_close(got, want, what=what, hint=hint)


def test_the_layers_of_the_branches_are_used_as_they_are(rng):
    """One token: attention is proj of v. Then fc1, gelu and fc2, all with their biases."""
    block, z = random_block(rng), numbers(1.0, -2.0, 0.5, 3.0, -1.0, 0.0)
    x, c = randn(rng, 1, 1, DIM), randn(rng, 1, DIM)
    got = set_modulation(block, shift1=z, scale1=-1.0, gate1=1.0)(x.clone(), c.clone()) - x
    v = block.qkv(z)[2 * DIM :]
    what, hint = "what attention adds for one token", "proj(v), and v is the last third of qkv(z); no bias left out"
    expect_close(got[0, 0], block.proj(v), what=what, hint=hint)
    got = set_modulation(block, shift2=z, scale2=-1.0, gate2=1.0)(x.clone(), c.clone()) - x
    inside = block.fc1(z)
    want = block.fc2(inside / 2 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (inside + 0.044715 * inside**3))))
    expect_close(got[0, 0], want, what="what the mlp adds", hint="fc2(gelu(fc1(z))): nothing before, between or behind")


def test_the_shapes_of_the_final_layer(rng):
    """[batch, tokens, patch_size^2 * out_channels], every token through the same weights."""
    layer, x, c = random_final(rng), randn(rng, 2, 5, DIM), randn(rng, 2, DIM)
    got = layer(x.clone(), c.clone())
    expect_equal(list(got.shape), [2, 5, 12], what="the shape of FinalLayer(6, 2, 3) of x [2, 5, 6]", hint=LAST)
