"""Stage 2. The block, what attention is given, any leading dimensions, sizes, wrong arguments."""

import warnings

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, numbers, randint, randn
from dojo.testing.modules import expect_parameters
from katas.transformer_block import Block, SwiGLU, swiglu_hidden

from .helpers import DIM, HIDDEN, NORM, Mixing, Spy, given_to, random_block, random_swiglu

STREAM = "h = x + attention(norm1(x), **kwargs), then h + mlp(norm2(h)): the stream is only ever added to"
SINGLE = {"rtol": 1e-5, "atol": 1e-4}  # of norms in float32: stage 3 asks for all digits of float64


def test_the_submodules_of_the_block():
    """Two norms, each with its own weight, the attention that was passed in, and a SwiGLU."""
    attention = Mixing(3)
    block = Block(3, 5, attention)
    shapes = {"norm1.weight": [3], "norm2.weight": [3], "attention.linear.weight": [3, 3]}
    shapes |= {"mlp.gate.weight": [5, 3], "mlp.up.weight": [5, 3], "mlp.down.weight": [3, 5]}
    hint = "norm1 and norm2 (RMSNorm, without bias), attention, mlp = SwiGLU(dim, hidden)"
    expect_parameters(block, shapes, what="Block(3, 5, attention)", hint=hint)
    expect_equal(sorted(block.state_dict()), sorted(shapes), what="the names in the state_dict of Block", hint=hint)
    expect(block.attention is attention, "block.attention should be the module that was passed in, but is another one")
    expect_equal(
        len({*block.parameters()}), 6, what="the number of different parameters", hint="two norms, not one twice"
    )
    for name in ("norm1.weight", "norm2.weight"):
        weight = block.get_parameter(name)
        expect_close(weight, torch.ones(3), what=f"{name} of a new block", hint="ones: the weight multiplies as it is")


def test_without_answers_the_block_is_the_identity(rng):
    """Zeros from attention and from down leave the stream as it was, whatever the norms do."""
    for shape in ((2, 3, DIM), (3, DIM)):
        x = 5 * randn(rng, *shape)
        got = random_block(rng, down=0.0)(x)
        what = "the block whose attention and mlp answer with zeros"
        expect_close(got, x, what=what, hint=STREAM, rtol=0.0, atol=0.0)


def test_attention_is_given_the_normed_stream():
    """[3, -1, 5, 1]: the mean square is 36 / 4 = 9, with eps = 7 it is 16, and the root is 4."""
    x, weight = numbers(3, -1, 5, 1), numbers(4, 8, 12, 16)
    attention = Spy()
    random_block(torch.Generator().manual_seed(0), attention, eps=7.0, norm1=weight)(x[None])
    what = "what attention is given for [3, -1, 5, 1], eps=7 and norm1.weight=[4, 8, 12, 16]"
    expect_close(given_to(attention, x[None]), numbers(3, -2, 15, 4)[None], what=what, hint=NORM)
    expect_equal(len(attention.given), 1, what="the number of calls of attention", hint="call it once")


def test_attention_is_given_tokens_of_mean_square_one(rng):
    """Each token by itself, m / (m + eps) for a mean square of m, whatever the size of the stream. eps is 1e-6 if it is
    not given: that halves the mean square of a token whose own is 1e-6."""
    size = numbers(1e-3, 1e-2, 1.0, 1e3)
    x = randn(rng, 3, 4, DIM)
    x = size[:, None] * x / x.square().mean(-1, keepdim=True).sqrt()
    attention = Spy()
    block = Block(DIM, HIDDEN, attention).double()
    block(x)
    given, m = given_to(attention, x), size**2
    hint = f"{NORM}; no mean is taken out, eps=1e-6 stands inside the root"
    want = (m / (m + 1e-6)).expand(3, 4)
    expect_close(given.square().mean(-1), want, what="the tokens' mean squares", hint=hint, **SINGLE)
    what = "a token in units of its first feature"
    expect_close(given / given[..., :1], x / x[..., :1], what=what, hint=hint, **SINGLE)


def test_everything_else_is_passed_on_to_attention(rng):
    """Masks, positions, a cache: the block need not know what attention needs, and must not take copies of it."""
    attention, mask, cache = Spy(), torch.ones(3, 3).bool(), {"layer": 7}
    block, x = random_block(rng, attention), randn(rng, 2, 3, DIM)
    block(x, mask=mask, cache=cache, causal=True, positions=None)
    block(x)
    hint = "forward(self, x, **kwargs), and attention(..., **kwargs), with those that are None, too"
    calls = [sorted(kwargs) for kwargs in attention.kwargs]
    want = [["cache", "causal", "mask", "positions"], []]
    expect_equal(calls, want, what="the names of what attention is passed beside x, in two calls", hint=hint)
    same = attention.kwargs[0]["mask"] is mask and attention.kwargs[0]["cache"] is cache
    expect(same, "attention should be passed the very mask and cache of the call, but got others", hint=hint)


def test_attention_adds_to_the_stream(rng):
    """With a down of zeros: x plus what attention answers. Behind a post-norm, or with the residual taken from the normed
    x, it would be something else."""
    for answer in (torch.cos, lambda given: 100 + given):
        attention, x = Spy(answer), 5 * randn(rng, 2, 3, DIM)
        got = random_block(rng, attention, down=0.0)(x.clone())
        expect_equal(len(attention.given), 1, what="the number of calls of attention", hint="call it once")
        want = x + answer(given_to(attention, x))
        expect_close(got, want, what="x plus attention's answer, where down is zeros", hint=STREAM)


def test_the_mlp_adds_to_the_stream(rng):
    """With attention that answers with zeros: x plus mlp(norm2(x)); norm2 has a weight and a mean square of its own."""
    block, x = random_block(rng, eps=0.5), 5 * randn(rng, 2, 3, DIM)
    normed = x / (x.square().mean(-1, keepdim=True) + 0.5).sqrt()
    want = x + block.mlp(normed * block.norm2.weight)
    hint = f"{STREAM}; norm2, not norm1, and with the same eps"
    what = "x plus mlp(norm2(x)), where attention answers with zeros"
    expect_close(block(x), want, what=what, hint=hint, **SINGLE)


def test_the_mlp_sees_what_attention_has_added(rng):
    """What attention adds might as well have been in the stream before. Parallel blocks (GPT-J, PaLM) are another model."""
    x, answer = randn(rng, 2, 3, DIM), 3 * randn(rng, 2, 3, DIM)
    block = random_block(rng, Spy(lambda given: answer.clone()))
    got = block(x.clone())
    block.attention.answer = torch.zeros_like
    what = "the block of x where attention answers a, against the block of x + a where it answers zeros"
    expect_close(got, block(x + answer), what=what, hint=STREAM)


def test_only_attention_mixes_tokens(rng):
    """With another token in place 1, the others stay as they were; with a causal attention those before it do."""
    x = randn(rng, 2, 4, DIM)
    other = x.clone()
    other[:, 1] = randn(rng, 2, DIM)
    for attention, places in ((Spy(torch.cos), [0, 2, 3]), (Mixing(), [0])):
        block = random_block(rng, attention)
        want = block(x.clone())
        expect_equal(list(want.shape), [2, 4, DIM], what=f"the shape of the block of x [2, 4, {DIM}]")
        what = f"the tokens {places} after token 1 has changed"
        expect_close(
            block(other.clone())[:, places], want[:, places], what=what, hint="norms run along the last dimension"
        )


@pytest.mark.parametrize("batch", [(), (3,), (4,), (2, 3), (2, 1, 3)], ids=str)
def test_any_leading_dimensions(rng, batch):
    """Texts of [n, dim], alone or in batches of any shape. Attention mixes along the last dimension but one."""
    x = randn(rng, *batch, 4, DIM)
    for name, module in (("the block", random_block(rng, Mixing())), ("SwiGLU", random_swiglu(rng))):
        got = module(x.clone())
        expect_equal(list(got.shape), list(x.shape), what=f"the shape of {name} of x {list(x.shape)}")
        for row, (one, text) in enumerate(zip(got.reshape(-1, 4, DIM), x.reshape(-1, 4, DIM), strict=True)):
            expect_close(one, module(text.clone()), what=f"text {row} of {name} of {list(x.shape)}, computed alone")


def test_training_and_evaluation_are_the_same(rng):
    """No dropout, on the branches or on the stream."""
    block, x = random_block(rng, Mixing()), randn(rng, 2, 5, DIM)
    want, what = block.eval()(x.clone()), "the block in training, against evaluation"
    for _ in range(2):
        expect_close(block.train()(x.clone()), want, what=what, hint="no dropout")


def test_views_with_any_strides_work(rng):
    """Tokens come as a slice of a longer text, or as [n, batch, dim]."""
    block, x = random_block(rng, Mixing()), randn(rng, 2, 5, DIM)
    view = x.transpose(0, 1).contiguous().transpose(0, 1)
    want = block(x.clone())
    expect_close(block(view), want, what="the block of a transpose", hint="reshape, not view")
    wide = random_swiglu(rng)
    expect_close(wide(x.mT.contiguous().mT), wide(x), what="SwiGLU of a transpose", hint="reshape, not view")


def test_blocks_share_nothing(rng):
    """Two blocks of one width, each with its own weights: changing one leaves the other alone."""
    one, x = random_block(rng), randn(rng, 2, 3, DIM)
    want = one(x)
    random_block(rng)(x)
    random_swiglu(rng)(x)
    expect_close(
        one(x), want, what="a block after another one has been made and called", hint="keep everything in self"
    )


SIZES = [  # dim, multiple_of, multiplier, hidden
    (4096, 256, None, 11008),  # Llama 7B
    (4096, 1024, 1.3, 14336),  # Llama 3 8B
    (8192, 4096, 1.3, 28672),  # Llama 3 70B
    (6, 16, None, 16),
    (32, 64, None, 128),
    (1, 1, None, 2),
    (7, 1, None, 18),
    (8, 1, None, 21),
]


@pytest.mark.parametrize(("dim", "multiple_of", "multiplier", "want"), SIZES, ids=str)
def test_hidden_sizes_of_known_models(dim, multiple_of, multiplier, want):
    """8/3 dim is 18.67 for 7 and 21.33 for 8; 16 is a multiple of 16 already."""
    given = {"multiple_of": multiple_of} | ({} if multiplier is None else {"multiplier": multiplier})
    got = swiglu_hidden(dim, **given)
    expect_equal(type(got), int, what="the type of swiglu_hidden(...)", hint="an integer: // or int()")
    arguments = ", ".join([str(dim), *(f"{name}={value}" for name, value in given.items())])
    hint = "int(8 dim / 3), times the multiplier and truncated, up to the next multiple"
    expect_equal(got, want, what=f"swiglu_hidden({arguments})", hint=hint)
    if multiple_of == 256:
        expect_equal(swiglu_hidden(dim), want, what=f"swiglu_hidden({dim})", hint="multiple_of is 256 by default")


def test_a_gated_mlp_has_the_parameters_of_a_plain_one(rng):
    """3 matrices of dim x 8/3 dim hold what 2 matrices of dim x 4 dim do: 8 dim^2, or up to a multiple more."""
    for dim, multiple in zip(randint(rng, 1, 5000, 20).tolist(), randint(rng, 1, 300, 20).tolist(), strict=True):
        hidden = swiglu_hidden(dim, multiple_of=multiple)
        what = f"swiglu_hidden({dim}, multiple_of={multiple})"
        expect(hidden % multiple == 0, f"{what} should be a multiple of {multiple}, but is {hidden}")
        extra = 3 * dim * hidden - 8 * dim**2
        sentence = f"{what} should give 3 x {dim} x hidden parameters, 8 x {dim}^2 = {8 * dim**2} or as few more as "
        sentence += f"possible, but {hidden} gives {3 * dim * hidden}"
        expect(-3 * dim < extra < 3 * dim * multiple, sentence, hint="8/3 of dim, up to the next multiple")


def test_the_multiplier_comes_after_8_3_and_before_the_multiple(rng):
    """In that order, and truncated at each step: three times int(8 dim / 3) is not int(8 dim)."""
    hint = "int(multiplier * int(8 dim / 3)), and only then up to the next multiple"
    for dim in (3 * randint(rng, 1, 1500, 8) + 2).tolist():  # 8/3 of those is odd, and has lost a third
        plain = swiglu_hidden(dim, multiple_of=1)
        for multiplier, want in ((3, 3 * plain), (1.0, plain), (0.5, plain // 2)):
            what = f"swiglu_hidden({dim}, multiple_of=1, multiplier={multiplier})"
            expect_equal(swiglu_hidden(dim, multiple_of=1, multiplier=multiplier), want, what=what, hint=hint)
        want = -(-(3 * plain) // 64) * 64
        what = f"swiglu_hidden({dim}, multiple_of=64, multiplier=3)"
        expect_equal(swiglu_hidden(dim, multiple_of=64, multiplier=3), want, what=what, hint=hint)


@pytest.mark.parametrize("dim", [0, -4])
def test_wrong_sizes_are_errors(dim):
    """nn.Linear makes an empty layer of a size of 0, with no more than a warning."""
    for name, call in (
        (f"SwiGLU({dim}, 6)", lambda: SwiGLU(dim, 6)),
        (f"SwiGLU(4, {dim})", lambda: SwiGLU(4, dim)),
        (f"Block({dim}, 6, attention)", lambda: Block(dim, 6, Spy())),
        (f"Block(4, {dim}, attention)", lambda: Block(4, dim, Spy())),
        (f"swiglu_hidden({dim})", lambda: swiglu_hidden(dim)),
        (f"swiglu_hidden(4, multiple_of={dim})", lambda: swiglu_hidden(4, multiple_of=dim)),
    ):
        with (
            warnings.catch_warnings(action="ignore"),
            expect_raises(ValueError, what=name, hint="sizes are at least 1"),
        ):
            call()


@pytest.mark.parametrize("multiplier", [0, 0.0, -1.3, float("nan")])
def test_wrong_multipliers_are_errors(multiplier):
    """0 is no way to say that there is none: None is."""
    with expect_raises(ValueError, what=f"swiglu_hidden(64, multiplier={multiplier})", hint="above 0, or None"):
        swiglu_hidden(64, multiplier=multiplier)
