"""Stage 3. Nothing in place, dtypes, gates and streams of 1e4, gradients."""

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
    expect_slope,
    expect_unchanged,
    numbers,
    randn,
    roundings,
)
from dojo.testing.attention import expect_finite_gradients
from katas.transformer_block import Block, SwiGLU

from .helpers import DIM, HIDDEN, Mixing, Spy, given_to, random_block, random_swiglu


@pytest.mark.parametrize("grad", [True, False], ids=["with a graph", "without"])
def test_nothing_is_modified(rng, grad):
    """Neither x, which the caller may need again, nor what attention has been given or has answered, which it may keep.
    `x += ...` in front of autograd is an error at times, and in inference it never is."""
    x, answer = randn(rng, 2, 3, DIM), randn(rng, 2, 3, DIM)
    attention = Spy(lambda given: answer)
    block, layer = random_block(rng, attention), random_swiglu(rng)
    with torch.set_grad_enabled(grad):
        with expect_unchanged(x, what="x of SwiGLU"):
            layer(x)
        with expect_unchanged(x, what="x of the block"), expect_unchanged(answer, what="what attention answers"):
            block(x)
    what = "what attention was given, after the call"
    expect_close(given_to(attention, x), attention.copies[0], what=what, hint="work out of place", rtol=0.0, atol=0.0)


def in_dtype(exact, module, dtype):
    """`module` in this dtype with the weights of `exact`, which get the numbers that they were rounded to."""
    module = module.to(dtype)
    module.load_state_dict(exact.state_dict())
    exact.load_state_dict(module.state_dict())
    return module


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_swiglu_works_in_every_floating_dtype(rng, dtype):
    """Against float64. Tolerance: 10 roundings of the largest sum of products."""
    exact, x = random_swiglu(rng), randn(rng, 2, 5, DIM).to(dtype)
    layer = in_dtype(exact, SwiGLU(DIM, HIDDEN), dtype)
    want = exact(x.double())
    expect_equal(list(want.shape), [2, 5, DIM], what="the shape of SwiGLU")
    inside = (x.double() @ exact.gate.weight.mT).abs() * (x.double() @ exact.up.weight.mT).abs()
    close = roundings(10, dtype, (1 + inside) @ exact.down.weight.mT.abs())
    expect_close(layer(x), want.to(dtype), what=f"SwiGLU in {dtype}", hint="keep the dtype of x", **close)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_block_works_in_every_floating_dtype(rng, dtype):
    """Against float64; the stream keeps its dtype from end to end. Tolerance: 30 roundings of the largest sum."""
    exact, x = random_block(rng, Mixing(), norm1=1.0, norm2=1.0), randn(rng, 2, 5, DIM).to(dtype)
    block = in_dtype(exact, Block(DIM, HIDDEN, Mixing()), dtype)
    want = exact(x.double())
    expect_equal(list(want.shape), [2, 5, DIM], what="the shape of the block")
    h = x.double() + exact.attention(exact.norm1(x.double()))
    gate, up, down = (exact.get_parameter(f"mlp.{name}.weight").abs() for name in ("gate", "up", "down"))
    read = exact.norm2(h).abs()
    close = roundings(30, dtype, h.abs().max() + ((read @ gate.mT) * (read @ up.mT)) @ down.mT)
    expect_close(block(x), want.to(dtype), what=f"the block in {dtype}", hint="keep the dtype of x", **close)


def test_float64_keeps_its_digits(rng):
    """x.float() before the mean square, as in many a model, halves the digits of float64. Tests of gradients need them."""
    attention, x = Spy(), randn(rng, 5, 4)
    random_block(rng, attention, norm1=1.0, eps=1e-30)(x)
    given = given_to(attention, x)
    hint = "widen narrower dtypes only: torch.promote_types(x.dtype, torch.float32)"
    mean_squares = given.square().mean(-1)
    what = "the mean squares of what attention is given, in float64 with eps=1e-30,"
    expect_close(mean_squares, torch.ones_like(mean_squares), what=what, hint=hint, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gates_of_1e4_are_fine(dtype):
    """silu(1e4) = 1e4 and silu(-1e4) = 0, with slopes of 1 and 0. exp(1e4) is infinite in every dtype, so that
    z / (1 + exp(-z)) answers right and passes NaN back."""
    layer = SwiGLU(2, 2).to(dtype)
    weights = {
        "gate.weight": [[1e4, 0.0], [-1e4, 0.0]],
        "up.weight": [[0.0, 1.0]] * 2,
        "down.weight": [[1.0, 0.0], [0.0, 1.0]],
    }
    layer.load_state_dict({name: torch.tensor(values, dtype=dtype) for name, values in weights.items()})
    x = numbers(1.0, 2.0, dtype=dtype).requires_grad_()
    got, size = layer(x), layer.gate.weight[0, 0].item()  # 1e4, rounded
    what = f"silu(gate) * up in {dtype} for gates of {size:g} and -{size:g} and an up of 2"
    hint = "F.silu, or z * sigmoid(z); exp of such numbers overflows"
    expect_close(got, torch.tensor([2 * size, 0.0], dtype=dtype), what=what, hint=hint)
    backward(got.sum())
    expect_finite_gradients({"x": x, **dict(layer.named_parameters())}, hint=hint)
    slopes = torch.tensor([2 * size, size], dtype=dtype)
    expect_close(x.grad, slopes, what=f"the gradient of x in {dtype}", hint=hint)


SIZES = [4096.0, 2.0**-13]  # squares overflow in float16 or vanish in it, and are fine in bfloat16


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=["a large stream", "a small stream"])
def test_attention_reads_streams_of_any_size(dtype, size):
    """[c, -c, c, c] becomes [1, -1, 1, 1]: c^2 = 4096^2 is no float16, nor is 2^-26. The stream of a deep model grows."""
    signs = torch.tensor([[1.0, -1.0, 1.0, 1.0]], dtype=dtype)
    attention = Spy()
    Block(DIM, HIDDEN, attention, eps=1e-30).to(dtype)(size * signs)
    what = f"what attention is given in {dtype} for {size:g} times [1, -1, 1, 1], eps=1e-30"
    hint = "compute mean(x^2) + eps in float32, then convert back; nn.RMSNorm does"
    expect_close(given_to(attention, signs), signs, what=what, hint=hint, **roundings(4, dtype))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_tokens_of_zeros_stay_zeros(dtype):
    """0 / sqrt(0 + eps) is 0. An eps of 1e-30 is 0 in float16, and 0 / 0 is NaN; in float32 it is none."""
    attention, x = Spy(), torch.zeros(2, DIM, dtype=dtype)
    Block(DIM, HIDDEN, attention, eps=1e-30).to(dtype)(x)
    what = f"what attention is given in {dtype} for zeros, with eps=1e-30,"
    expect_close(given_to(attention, x), x, what=what, hint="add eps to mean(x^2) in float32")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_the_norm_rounds_once_in_half_precision(rng, dtype):
    """512 roundings of 512 features cancel in the factor of a token, their median; that of a mean square, or of its root,
    does not. With eps = 1 no factor is near 1, where all roundings go one way."""
    attention, x = Spy(), randn(rng, 32, 512).to(dtype)
    Block(512, 1, attention, eps=1.0).to(dtype)(x)
    given, x = given_to(attention, x).double(), x.double()
    factor = (given / x).median(-1).values * (x.square().mean(-1) + 1.0).sqrt()
    error, most = (factor - 1).square().mean().sqrt().item(), torch.finfo(dtype).eps / 16
    sentence = (
        f"norm1 in {dtype} should divide tokens by sqrt(mean(x^2) + eps) with a relative error of at most {most:.2g}"
    )
    sentence += f", but with {error:.2g} (32 tokens of 512 features: quadratic mean of the tokens' medians)"
    hint = "x / sqrt(mean(x^2) + eps) in float32, from first to last, then back to the dtype of x; nn.RMSNorm does"
    expect(error <= most, sentence, hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=["a large stream", "a small stream"])
def test_the_mlp_reads_streams_of_any_size(dtype, size):
    """norm2 gives [1, -1, 1, 1] again; one hidden feature with a gate and an up of 64 answers with 4096 times down = 2.
    Tolerance: 8 roundings of the largest number."""
    signs = torch.tensor([[1.0, -1.0, 1.0, 1.0]], dtype=dtype)
    block = Block(DIM, 1, Spy(), eps=1e-30).to(dtype)
    with torch.no_grad():
        for name, values in (("gate", [[64.0, 0, 0, 0]]), ("up", [[0, -64.0, 0, 0]]), ("down", [[2.0], [0], [0], [0]])):
            block.get_parameter(f"mlp.{name}.weight").copy_(torch.tensor(values))
    want = size * signs + torch.tensor([[8192.0, 0, 0, 0]], dtype=dtype)
    what = f"the block in {dtype} of {size:g} times [1, -1, 1, 1], with 8192 from the mlp and eps=1e-30"
    hint = "compute mean(x^2) + eps in float32, then convert back; nn.RMSNorm does"
    got = block(size * signs)
    expect_close(got[:, :1], want[:, :1], what=what, hint=hint, **roundings(8, dtype, 8192.0 + size))
    expect_close(got[:, 1:], want[:, 1:], what=f"{what}, apart from its first feature,", hint=hint)


def test_the_gradients_of_swiglu_are_those_of_the_function(rng):
    """Finite differences in float64, for x and for all three weights."""
    layer, x = random_swiglu(rng, 3, 2), randn(rng, 2, 3)
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *weights):
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x,))

    for mode in (True, False):
        what = f"SwiGLU in {'training' if mode else 'evaluation'}"
        layer.train(mode)
        expect_gradients(function, (x, *layer.parameters()), what=what)


def test_the_gradients_of_the_block_are_those_of_the_function(rng):
    """Finite differences in float64, for x, through both branches and along the stream, and for every weight."""
    block, x = random_block(rng, Mixing(), eps=0.1), randn(rng, 2, 3, DIM)
    for mode in (True, False):
        expect_gradients(block.train(mode), [x], what=f"the block in {'training' if mode else 'evaluation'}")
    factors = randn(rng, 2, 3, DIM)

    def loss():
        return (block(x) * factors).sum()

    backward(loss(), what="the block")
    for name, parameter in block.named_parameters():
        expect_slope(loss, parameter, rng, name=name)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_gradients_keep_the_dtype(rng, dtype):
    """In half precision, too, every weight gets a finite gradient of its own dtype."""
    block = in_dtype(random_block(rng, Mixing()), Block(DIM, HIDDEN, Mixing()), dtype)
    x = randn(rng, 2, 3, DIM).to(dtype).requires_grad_()
    backward(block(x).sum(), what="the block")
    leaves = {"x": x, **dict(block.named_parameters())}
    expect_finite_gradients(leaves, hint="detach nothing")
    for name, leaf in leaves.items():
        expect_equal(leaf.grad.dtype, dtype, what=f"the dtype of the gradient of {name}")
