"""Stage 3. The first gradient steps, nothing in place, every dtype, large numbers."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_slope,
    expect_unchanged,
    numbers,
    randn,
    roundings,
)
from dojo.testing.attention import expect_finite_gradients
from dojo.testing.modules import fill
from katas.dit_block import DiTBlock, FinalLayer

from .helpers import (
    DIM,
    HEADS,
    READERS,
    new_block,
    normed,
    random_block,
    random_final,
    reads,
    set_modulation,
    transparent_block,
)

BOTH = {"the block": random_block, "the final layer": random_final}


def largest(tensor):
    return 0.0 if tensor.grad is None else tensor.grad.abs().max().item()


def descend(module):
    """A step of gradient descent. (The import of torch.optim's step takes longer than all tests of this file.)"""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.grad is not None:
                parameter -= 0.1 * parameter.grad


def moved(module):
    """The names of the parameters with a gradient; k's bias has none at any time, because softmax takes it out."""
    return sorted(name for name, parameter in module.named_parameters() if largest(parameter) > 0)


def test_the_first_gradient_reaches_the_gates_alone(rng):
    """A gate's gradient is the slope times what its branch answers, and the answer is not zero. Shifts, scales, the layers
    of the branches and c get theirs through the gates, which are zero. x gets its own along the stream."""
    block, slope = new_block(rng), randn(rng, 2, 3, DIM)
    x, c = randn(rng, 2, 3, DIM).requires_grad_(), randn(rng, 2, DIM).requires_grad_()
    backward((block(x * 1, c) * slope).sum(), what="a new block")
    expect_close(
        x.grad, slope, what="the gradient of x through a new block", hint="x itself is added, without a factor"
    )
    hint = "only the modulation starts at zero: with zeros in a branch as well, nothing would ever learn"
    for number, gate in ((1, "gate1"), (2, "gate2")):
        opened = new_block(rng)  # no copy: an answer may keep what it has read
        opened.load_state_dict(block.state_dict())
        answer = set_modulation(opened, **{gate: 1.0})(x.detach(), c.detach()) - x.detach()
        rows = slice((3 * number - 1) * DIM, 3 * number * DIM)
        want = (slope * answer).sum(1)
        what = (
            f"the gradient of modulation's bias for {gate}, at the start: the sum of slope * what the branch answers,"
        )
        expect_close(block.modulation.bias.grad[rows], want.sum(0), what=what, hint=hint)
        want = want.mT @ nn.functional.silu(c.detach())
        what = f"the gradient of modulation's weight for {gate}, at the start,"
        expect_close(block.modulation.weight.grad[rows], want, what=what, hint=hint)
    still = {f"the shift and the scale of branch {n + 1}": slice(3 * n * DIM, (3 * n + 2) * DIM) for n in range(2)}
    for name, rows in still.items():
        grad = block.modulation.weight.grad[rows].abs().max().item()
        expect_equal(grad, 0.0, what=f"the largest gradient of {name} at the start", hint="their branch is closed")
    expect_equal(moved(block), ["modulation.bias", "modulation.weight"], what="what gets a gradient in a new block")
    expect_equal(
        largest(c), 0.0, what="the largest gradient of c through a new block", hint="modulation's weight is zero"
    )


def test_the_second_gradient_reaches_everything(rng):
    """One step has opened the gates, and so every layer learns from the second step on, whatever is in front of c too."""
    block, slope = DiTBlock(8, 2).double(), randn(rng, 2, 3, 8)
    x, c = randn(rng, 2, 3, 8), randn(rng, 2, 8).requires_grad_()
    for _ in range(2):
        block.zero_grad()
        c.grad = None
        backward((block(x.clone(), c) * slope).sum(), what="the block")
        descend(block)
    weights = ["fc1.weight", "fc2.weight", "modulation.weight", "proj.weight", "qkv.weight"]
    hint = "one zero in a product, the gate: nothing else is zero or detached"
    got = [name for name in moved(block) if name.endswith("weight")]
    expect_equal(got, weights, what="which weights get a gradient at the second step", hint=hint)
    rows = block.modulation.weight.grad.abs().unflatten(0, (6, 8)).amax((1, 2))
    expect((rows > 0).all(), "all six parts of modulation should get a gradient at the second step", hint=hint)
    expect(largest(c) > 0, "c should get a gradient at the second step, but gets none", hint="detach nothing")


def test_a_new_model_learns_from_its_end_to_its_beginning(rng):
    """Step 1: linear of the final layer. Step 2: its modulation and the gates as well. Step 3: everything."""
    block, final, slope = DiTBlock(8, 2).double(), FinalLayer(8, 1, 3).double(), randn(rng, 2, 3, 3)
    x, c = randn(rng, 2, 3, 8), randn(rng, 2, 8)
    got = []
    for _ in range(3):
        block.zero_grad()
        final.zero_grad()
        backward((final(block(x.clone(), c), c) * slope).sum(), what="block and final layer")
        got.append([name for name in moved(final) + moved(block) if name.endswith("weight")])
        descend(block)
        descend(final)
    last, gates = ["linear.weight"], ["linear.weight", "modulation.weight", "modulation.weight"]
    rest = ["linear.weight", "modulation.weight", "fc1.weight", "fc2.weight", "modulation.weight"]
    want = [last, gates, [*rest, "proj.weight", "qkv.weight"]]
    for step in range(3):
        what = f"the weights of final layer and block with a gradient at step {step + 1}"
        hint = "linear and both modulations start at zero, and nothing else does"
        expect_equal(got[step], want[step], what=what, hint=hint)


@pytest.mark.parametrize("grad", [True, False], ids=["with a graph", "without"])
def test_nothing_is_modified(rng, grad):
    """x may be a skip connection, and c is read by every block."""
    x, c = randn(rng, 2, 3, DIM), randn(rng, 2, DIM)
    for name, make in BOTH.items():
        module = make(rng)
        with (
            torch.set_grad_enabled(grad),
            expect_unchanged(x, what=f"x of {name}"),
            expect_unchanged(c, what=f"c of {name}"),
        ):
            module(x, c)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("name", BOTH)
def test_every_floating_dtype_works(rng, name, dtype):
    """Against float64 of the same numbers. Tolerance: 30 roundings of the largest number on the way."""
    exact = BOTH[name](rng)
    module = copy.deepcopy(exact).to(dtype)
    exact.load_state_dict(module.state_dict())
    x, c = randn(rng, 2, 5, DIM).to(dtype), randn(rng, 2, DIM).to(dtype)
    want = exact(x.double(), c.double())
    expect_equal(want.dim(), 3, what=f"the number of dimensions of {name}")
    close = roundings(30, dtype, want.abs().max() + 10)
    expect_close(module(x, c), want.to(dtype), what=f"{name} in {dtype}", hint="keep the dtype of x", **close)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_deep_new_model_passes_the_stream_through(rng, dtype):
    """Four new blocks: x comes out bit for bit, and so does its gradient."""
    x, c = (100 * randn(rng, 2, 3, 8)).to(dtype).requires_grad_(), randn(rng, 2, 8).to(dtype)
    y, slope = x * 1, randn(rng, 2, 3, 8).to(dtype)
    for _ in range(4):
        y = DiTBlock(8, 2).to(dtype)(y, c)
    hint = "the stream is only ever added to: no norm, factor or conversion on it"
    expect_close(y, x, what=f"x behind four new blocks in {dtype}", hint=hint, rtol=0.0, atol=0.0)
    backward((y * slope).sum(), what="the blocks")
    what = f"the gradient in front of four new blocks in {dtype}"
    expect_close(x.grad, slope, what=what, hint=hint, rtol=0.0, atol=0.0)


@pytest.mark.parametrize("reader", READERS)
def test_float64_keeps_its_digits(rng, reader):
    """x.float() in front of the norm halves the digits of float64. The variance is v / (v + eps) exactly."""
    x = randn(rng, 5, DIM)
    v, got = x.var(-1, correction=0), reads(reader, x)
    what = f"the variances of what {reader} reads in float64"
    hint = "widen narrower dtypes only: torch.promote_types(x.dtype, torch.float32)"
    expect_close(got.var(-1, correction=0), v / (v + 1e-6), what=what, hint=hint, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_norm_is_computed_in_float32(dtype):
    """Whole numbers up to 1024 in float16, up to 128 in bfloat16: their mean and their squares are no such numbers, and a
    mean that is rounded to the dtype shifts every feature by a third of its size."""
    x = torch.tensor([[1, 0, 0, 0, 2, 1], [1, 1, 2, 0, 1, 3], [0, 0, 1, 0, 0, 0]]) + (
        1024 if dtype == HALVES[0] else 128
    )
    want = (x - x.double().mean(-1, keepdim=True)) / (x.double().var(-1, correction=0, keepdim=True) + 1e-6).sqrt()
    got = reads("the final layer", x.double(), dtype)
    what = f"what the final layer reads of whole numbers near {int(x.max())} in {dtype}"
    hint = "compute mean and variance in float32, then convert back; F.layer_norm does"
    expect_close(got, want.to(dtype), what=what, hint=hint, **roundings(4, dtype, 2.5))


@pytest.mark.parametrize("reader", ["attention", "the final layer"])
def test_a_large_mean_is_taken_out_before_squares_are(reader):
    """Whole numbers near 1e4 in float32: the mean of the squares minus the square of the mean is wrong by some ones, or
    below zero, whose root is NaN. The mean itself is rounded to a thousandth, hence the tolerance."""
    small = torch.tensor([[1, 0, 0, 0, 2, 1], [1, 1, 2, 0, 1, 3], [0, 0, 1, 0, 0, 0], [5, 1, 0, 4, 2, 3]]).double()
    got = reads(reader, 10000 + small, torch.float32, gate=10000.0).double()
    hint = "var is the mean of (x - mean)^2, not mean(x^2) - mean^2; F.layer_norm computes it so"
    what = f"what {reader} reads of whole numbers near 1e4 in float32"
    expect_close(got, normed(small), what=what, hint=hint, rtol=0.0, atol=0.03)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("reader", ["attention", "the final layer"])
def test_large_streams_are_read(reader, dtype):
    """[s, -s, s, -s] is read as [1, -1, 1, -1]: s^2 = 8192^2 is no float16. The stream of a deep model grows."""
    size = 8192.0
    x = size * numbers(1, -1, 1, -1)[None]
    got = reads(reader, x, dtype, gate=size).double()
    what = f"what {reader} reads of {size:g} times [1, -1, 1, -1] in {dtype}"
    hint = "compute mean and variance in float32, then convert back; F.layer_norm does"
    want = x / (size**2 + 1e-6) ** 0.5
    expect_close(got, want, what=what, hint=hint, **roundings(8, dtype, 2.0))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_scores_of_1e4_are_fine(dtype):
    """q k is 1e4 for the token itself and -1e4 for the other one: attention answers with the token. exp(1e4) is infinite."""
    block = transparent_block(2)
    fill(block.get_parameter("qkv.weight")[:4], 70.7 * torch.eye(2).double().repeat(2, 1))
    block = set_modulation(block, gate1=1.0).to(dtype)
    x, c = torch.tensor([[[1.0, -1.0], [-1.0, 1.0]]], dtype=dtype).requires_grad_(), torch.ones(1, 2, dtype=dtype)
    got = block(x * 1, c)
    what, hint = (
        f"the block in {dtype} where each token attends to itself",
        "softmax, which takes out the largest score first",
    )
    expect_close(got, 2 * x.detach(), what=what, hint=hint, **roundings(4, dtype, 2.0 + 1e-6 / torch.finfo(dtype).eps))
    backward(got.sum(), what="the block")
    expect_finite_gradients({"x": x, "qkv.weight": block.qkv.weight}, hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_hidden_features_of_1e4_are_fine(dtype):
    """gelu(1e4) = 1e4 and gelu(-1e4) = 0, with slopes of 1 and 0. The cube of 1e4 is no float16: behind it tanh is right and
    passes NaN back."""
    block = set_modulation(transparent_block(2), shift2=numbers(1e4, -1e4), scale2=-1.0, gate2=1.0)
    for name in ("fc1.bias", "fc2.bias"):
        fill(block.get_parameter(name), 0.0)
    block = block.to(dtype)
    x, c = torch.zeros(1, 1, 2, dtype=dtype).requires_grad_(), torch.ones(1, 2, dtype=dtype)
    got, size = block(x * 1, c), torch.tensor(1e4, dtype=dtype)
    what, hint = (
        f"the block in {dtype} whose mlp has hidden features of 1e4 and -1e4",
        "F.gelu computes in float32 inside",
    )
    expect_close(got[0, 0], torch.stack([size, 0 * size]), what=what, hint=hint)
    backward(got.sum(), what="the block")
    expect_finite_gradients({"x": x, "fc1.weight": block.fc1.weight, "fc2.weight": block.fc2.weight}, hint=hint)
    slopes = block.modulation.bias.grad[6:8]
    expect_close(
        slopes, numbers(1, 0, dtype=dtype), what=f"the gradients of shift2 in {dtype}: slopes of gelu", hint=hint
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_conditions_of_1e4_are_fine(dtype):
    """silu(1e4) = 1e4 and silu(-1e4) = 0, with slopes of 1 and 0: z / (1 + exp(-z)) is right, and passes NaN back."""
    block = set_modulation(transparent_block(2), shift1=1.0, scale1=-1.0)
    fill(block.get_parameter("modulation.weight")[4:6], torch.eye(2).double())
    block = block.to(dtype)
    c = torch.tensor([[1e4, -1e4]], dtype=dtype).requires_grad_()
    got = block(torch.zeros(1, 1, 2, dtype=dtype), c)
    what, hint = f"the block in {dtype} that adds silu(c), c = [1e4, -1e4],", "F.silu, or z * sigmoid(z)"
    expect_close(got[0, 0], torch.stack([c[0, 0], 0 * c[0, 0]]).detach(), what=what, hint=hint)
    backward(got.sum(), what="the block")
    expect_close(
        c.grad, numbers(1, 0, dtype=dtype)[None], what=f"the gradient of c in {dtype}: slopes of silu", hint=hint
    )


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_keep_the_dtype(rng, dtype):
    """In half precision, too, everything gets a finite gradient of its own dtype."""
    for name, make in BOTH.items():
        module = make(rng).to(dtype)
        x, c = (randn(rng, *shape).to(dtype).requires_grad_() for shape in ((2, 3, DIM), (2, DIM)))
        backward(module(x, c).sum(), what=name)
        leaves = {"x": x, "c": c, **dict(module.named_parameters())}
        expect_finite_gradients(leaves, hint="detach nothing")
        for leaf, tensor in leaves.items():
            expect_equal(tensor.grad.dtype, dtype, what=f"the dtype of the gradient of {leaf} through {name}")


@pytest.mark.parametrize("name", BOTH)
def test_the_gradients_are_those_of_the_function(rng, name):
    """Finite differences in float64, for x, for c, and along a direction of every parameter."""
    module = DiTBlock(4, HEADS, 1.0) if name == "the block" else FinalLayer(4, 1, 2)
    for parameter in module.double().parameters():
        fill(parameter, 0.6 * randn(rng, *parameter.shape))
    x, c = randn(rng, 2, 2, 4), randn(rng, 2, 4)
    factors = randn(rng, *module(x.clone(), c).shape)

    def loss(x=x, c=c):
        return (module(x * 1, c) * factors).sum()

    expect_gradients(loss, [x, c], what=name)
    module.zero_grad()
    backward(loss(), what=name)
    for parameter_name, parameter in module.named_parameters():
        expect_slope(loss, parameter, rng, name=parameter_name)
