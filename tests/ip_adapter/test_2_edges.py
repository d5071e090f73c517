"""Stage 2. Any sizes, the scale, wrong arguments."""

import pytest

from dojo.testing import expect_close, expect_equal, expect_raises, expect_unchanged, randn
from dojo.testing.modules import set_weights
from katas.ip_adapter import DecoupledCrossAttention, ImageProjection

from .helpers import FROM_IMAGE, FROM_TEXT, attention, change, inputs

SIZES = [(2, 4, 6, 3), (3, 3, 3, 3), (1, 5, 2, 1), (4, 1, 4, 16)]  # batch, queries, keys, tokens


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_samples_and_queries_do_not_see_each_other(rng, sizes):
    """Each sample has a text and an image of its own, and each query is answered as if it were alone."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, *sizes)
    with expect_unchanged(x, context, image_tokens, what="an argument"):
        got = layer(x, context, image_tokens)
    expect_equal(list(got.shape), [*sizes[:2], 5], what="the output's shape", hint="one answer for each query")
    for row in range(sizes[0]):
        one = slice(row, row + 1)
        for n in range(sizes[1]):
            want = layer(x[one, n : n + 1], context[one], image_tokens[one])
            hint = "swap the axes of heads and tokens when splitting, and back before joining"
            expect_close(got[one, n : n + 1], want, what=f"query {n} of sample {row}, computed alone", hint=hint)


def test_each_head_works_alone_on_its_block(rng):
    """3 heads are 3 one-head layers, each with its blocks of the weights, added up, for text and image alike."""
    layer, given = attention(rng, heads=3, head_dim=2), inputs(rng)
    total = layer.to_out.bias.detach()
    for head in range(3):
        block = slice(2 * head, 2 * head + 2)
        rows = {name: getattr(layer, name).weight[block] for name in ("to_q", *FROM_TEXT, *FROM_IMAGE)}
        single = set_weights(attention(rng, 5, 7, 1, 2), **rows, to_out=layer.to_out.weight[:, block], bias=0.0)
        total = total + single(*given)
    hint = "the root is of head_dim; [batch, n, heads * head_dim] -> [batch, n, heads, head_dim] -> swap n and heads"
    expect_close(layer(*given), total, what="3 heads, against 3 layers of one head", hint=hint)


@pytest.mark.parametrize("scale", [-1.0, 0.25, 1.0, 3.0])
def test_the_output_is_affine_in_the_scale(rng, scale):
    """Twice the scale is twice the change: no clamping, no (1 - scale) on the text, no scale inside a softmax."""
    layer, given = attention(rng, scale=scale), inputs(rng)
    got = change(layer, *given)
    layer.scale = 0.5
    want = 2 * scale * change(layer, *given)
    hint = "text + scale * image: scale multiplies the image's answers and nothing else"
    expect_close(got, want, what=f"what the image adds at scale {scale}, against scale 0.5", hint=hint)


def test_the_scale_can_be_changed_later(rng):
    """A slider at sampling: set as an attribute, it counts at once, for this layer only, and 1 is the default."""
    layer, given = attention(rng, scale=0.2), inputs(rng)
    other, hint = attention(rng, scale=0.2), "read self.scale in forward"
    before = other(*given).detach()
    layer.scale = 0.9
    fresh = attention(rng, scale=0.9)
    fresh.load_state_dict(layer.state_dict())
    expect_close(layer(*given), fresh(*given), what="the output after layer.scale = 0.9", hint=hint)
    expect_close(other(*given), before, what="the output of another layer", hint="keep scale on self")
    expect_equal(DecoupledCrossAttention(5, 7, 2, 3).scale, 1.0, what="the default scale")


def test_image_tokens_are_a_set(rng):
    """Another order of the tokens, or every token twice, changes nothing: there are no positions among them."""
    layer, (x, context, image_tokens) = attention(rng), inputs(rng, tokens=4)
    want, hint = (
        layer(x, context, image_tokens),
        "no causal mask and no positions; a softmax over the image tokens alone",
    )
    got = layer(x, context, image_tokens[:, [2, 0, 3, 1]])
    expect_close(got, want, what="the output for image tokens in another order", hint=hint)
    got = layer(x, context, image_tokens.repeat(1, 2, 1))
    expect_close(got, want, what="the output for every image token twice", hint=hint)
    got = layer(x, context.flip(1), image_tokens)
    expect_close(got, want, what="the output for text tokens in another order", hint=hint)


@pytest.mark.parametrize("sizes", [(5, 4, 3), (4, 4, 4), (3, 6, 1)], ids=str)
def test_each_image_has_its_own_tokens(rng, sizes):
    """Every row of the batch as if it were alone, at image_dim == context_dim == tokens == batch, too."""
    layer, embedding = ImageProjection(*sizes).double(), randn(rng, 4, sizes[0])
    with expect_unchanged(embedding, what="the image embedding"):
        got = layer(embedding)
    expect_equal(
        list(got.shape), [4, sizes[2], sizes[1]], what="the tokens' shape", hint="[batch, tokens, context_dim]"
    )
    for row in range(4):
        want = layer(embedding[row : row + 1])[0]
        expect_close(got[row], want, what=f"the tokens of image {row}, computed alone", hint="keep the batch first")


def test_wrong_sizes_are_errors():
    """No tokens, or no heads, would give an empty answer without a word."""
    for tokens in (0, -1):
        with expect_raises(ValueError, what=f"ImageProjection(5, 4, tokens={tokens})"):
            ImageProjection(5, 4, tokens)
    for heads, head_dim in ((0, 3), (2, 0), (-1, 3)):
        with expect_raises(ValueError, what=f"DecoupledCrossAttention(5, 7, heads={heads}, head_dim={head_dim})"):
            DecoupledCrossAttention(5, 7, heads, head_dim)
    narrow = DecoupledCrossAttention(5, 7, 1, 1).to_q.weight
    expect_equal(list(narrow.shape), [1, 5], what="to_q's shape with one head of width 1", hint="1 is allowed")
