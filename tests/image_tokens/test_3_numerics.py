"""Stage 3. Gradients, dtypes, embeddings that are not numbers."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_unchanged,
    numbers,
    randint,
    randn,
    roundings,
)
from katas.image_tokens import image_labels, select_features, splice

from .helpers import PARAMETERS, check_splice, expect_spliced, pictured, projector, prompt

ROWS = (".aa.b", ".....", "ccc..")
EVERY = pytest.mark.parametrize("dtype", FLOATS, ids=str)
INF = float("inf")


def test_text_trains_the_table_and_pictures_the_projector(rng):
    """Each number of the result is one of the inputs: its gradient goes there, and nowhere else. The embedding of the
    placeholder itself learns nothing."""
    given = pictured(rng, *ROWS)
    leaves = [each.requires_grad_() for each in (given["embeddings"], *given["features"])]
    got = splice(**given)
    slopes = randn(rng, *got.shape)
    backward((slopes * got).sum(), what="the result of splice")
    for name, leaf in zip(("the embeddings", "picture a", "picture b", "picture c"), leaves, strict=True):
        expect(leaf.grad is not None, f"{name} should get a gradient, but gets none", hint="no detach(), no .data")
    want = slopes.clone()
    want[0, 1:3] = want[0, 4] = want[2, :3] = 0
    hint = "0 at the placeholders, and that of the result elsewhere: replace, do not add"
    expect_equal(
        leaves[0].grad.abs(), want.abs(), what=f"the gradient of the embeddings of {', '.join(ROWS)}", hint=hint
    )
    for name, leaf, want in zip("abc", leaves[1:], (slopes[0, 1:3], slopes[0, 4:5], slopes[2, :3]), strict=True):
        hint = "that of the places where the tokens stand"
        expect_equal(leaf.grad, want, what=f"the gradient of picture {name} of {', '.join(ROWS)}", hint=hint)


@pytest.mark.parametrize("frozen", ["embeddings", "features"])
def test_either_may_be_frozen(rng, frozen):
    """First the projector is trained alone, with a frozen language model."""
    given = pictured(rng, *ROWS)
    leaves = given["features"] if frozen == "embeddings" else [given["embeddings"]]
    for leaf in leaves:
        leaf.requires_grad_()
    backward(splice(**given).sum(), what=f"splice with frozen {frozen}")
    for leaf in leaves:
        expect(leaf.grad is not None, f"with frozen {frozen} the others should get a gradient, but get none")


def test_a_batch_of_text_has_a_graph(rng):
    """A batch without pictures trains the language model, and stops no training with an error."""
    leaf = randn(rng, 2, 3, 4).requires_grad_()
    backward(splice(leaf, prompt(rng, "...", "..."), [], [0, 0], -200).sum(), what="splice without a picture")
    expect_equal(leaf.grad, torch.ones_like(leaf), what="the gradient of embeddings without a picture")


def test_the_embeddings_are_not_written_to(rng):
    """They may be a view of the table itself, or kept for another step. Nor are the features, and ids."""
    given = pictured(rng, *ROWS)
    with expect_unchanged(given["embeddings"], given["ids"], *given["features"], what="an argument of splice"):
        splice(**given)
    labels = randint(rng, 50, 90, 3, 5)
    with expect_unchanged(labels, given["ids"], what="an argument of image_labels"):
        image_labels(labels, given["ids"], -200)
    states = list(randn(rng, 3, 2, 4, 5))
    with expect_unchanged(*states, what="a hidden state"):
        select_features(states)


def test_lists_are_kept(rng):
    """Whoever calls needs the list of pictures again."""
    given = pictured(rng, *ROWS)
    features, images_per_row = list(given["features"]), list(given["images_per_row"])
    splice(**given)
    expect_equal(len(given["features"]), 3, what="the number of pictures in the list after the call", hint="no pop()")
    same = all(a is b for a, b in zip(given["features"], features, strict=True))
    expect(same, "the list of features should hold the same tensors after the call, but does not")
    expect_equal(given["images_per_row"], images_per_row, what="images_per_row after the call", hint="no pop()")


@EVERY
def test_tokens_are_moved_and_not_computed_with(rng, dtype):
    """Bit for bit, in every dtype, also where the embedding of the placeholder is far larger or smaller than the token."""
    for power in (12.0, -12.0):
        given = pictured(rng, *ROWS, dtype=dtype)
        given["embeddings"] *= 2**power
        given["features"] = [each * 2**-power for each in given["features"]]
        expect_spliced(splice(**given), given, *ROWS, hint="replace; a difference that is added back is rounded")


@EVERY
@pytest.mark.parametrize("other", FLOATS, ids=str)
def test_the_result_has_the_dtype_of_the_embeddings(rng, dtype, other):
    """The encoder often runs in another precision than the language model. Each number is rounded once."""
    given = pictured(rng, *ROWS, dtype=dtype)
    given["features"] = [each.to(other) for each in pictured(rng, *ROWS)["features"]]
    leaf = given["features"][0].requires_grad_()
    got = splice(**given)
    expect_spliced(got, given, *ROWS, hint="features.to(embeddings.dtype)")
    backward(got.sum(), what=f"splice of {other} features into {dtype} embeddings")
    expect_equal(leaf.grad, torch.ones_like(leaf), what=f"the gradient of {other} features in {dtype} embeddings")


@EVERY
@pytest.mark.parametrize("junk", [INF, -INF, float("nan")])
def test_the_embedding_of_a_placeholder_has_no_influence(rng, dtype, junk):
    """A row of the table that was added for the placeholder and never trained. 0 * NaN is NaN, in the gradient, too."""
    given = pictured(rng, *ROWS, dtype=dtype)
    given["embeddings"][given["ids"] == -200] = junk
    leaf = given["embeddings"].requires_grad_()
    got = splice(**given)
    expect_spliced(got, given, *ROWS, hint="replace what stands at the placeholders; do not multiply by a mask")
    backward(got.sum(), what="the result of splice")
    want = torch.tensor([[1, 0, 0, 1, 0], [1] * 5, [0, 0, 0, 1, 1]], dtype=dtype)[..., None].expand(3, 5, 3)
    expect_equal(leaf.grad, want, what=f"the gradient of embeddings that are {junk} at placeholders", hint="replace")


@EVERY
def test_an_infinite_token_stays_in_its_place(rng, dtype):
    """An overflow in the encoder is one wrong token, and text that is infinite is one wrong text token."""
    given = pictured(rng, *ROWS, dtype=dtype)
    given["features"][1][0, 1], given["embeddings"][2, 3, 0] = INF, -INF
    expect_spliced(splice(**given), given, *ROWS, hint="move tokens by an index or a mask, not by a product")


def test_parts_of_larger_tensors(rng):
    """Not contiguous: embeddings that were transposed, ids that are every second column, tokens without a class token."""
    given = pictured(rng, *ROWS)
    want = splice(**given)
    apart = {
        "embeddings": given["embeddings"].transpose(0, 1).contiguous().transpose(0, 1),
        "ids": given["ids"].repeat_interleave(2, 1)[:, ::2],
        "features": [torch.cat([each, each], 1)[:, :3] for each in given["features"]],
    }
    expect_equal(
        splice(**given | apart), want, what="splice of tensors that are not contiguous", hint="reshape, not view"
    )
    labels = randint(rng, 50, 90, 5, 3).mT
    got, want = image_labels(labels, apart["ids"], -200), image_labels(labels.contiguous(), given["ids"], -200)
    expect_equal(got, want, what="the labels of tensors that are not contiguous", hint="reshape, not view")


def test_calls_are_independent(rng):
    """Nothing is kept from one call to the next."""
    for rows in (ROWS, ("..aaaa",), ROWS):
        check_splice(rng, *rows)


@EVERY
def test_the_projector_keeps_its_dtype(rng, dtype):
    """Against the same numbers in float64. Tolerance: 16 roundings of the largest sum on the way, about 8."""
    layer, features = projector(rng, 4, 3), (8 * randn(rng, 2, 5, 4)).round() / 8
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_((8 * parameter).round() / 8)
        want = layer(features)
        got = layer.to(dtype)(features.to(dtype))
    expect_equal(got.dtype, dtype, what=f"the dtype of a projector in {dtype}")
    hint = "linear_2(F.gelu(linear_1(features)))"
    expect_close(got.double(), want, what=f"the tokens in {dtype}", hint=hint, **roundings(16, dtype, 8))


def test_large_features_pass_the_projector():
    """GELU is x above and 0 below: a cube in an approximation, or an exponential, overflows."""
    for dtype in FLOATS:
        eye = torch.eye(2)
        values = {"linear_1_weight": eye, "linear_1_bias": 0.0, "linear_2_weight": eye, "linear_2_bias": 0.0}
        got = projector(None, 2, 2, dtype, **values)(numbers(1024, -1024, dtype=dtype))
        what = f"the projector of copying layers at 1024 and -1024 in {dtype}"
        expect_close(got.abs(), numbers(1024, 0, dtype=dtype), what=what, hint="F.gelu")


def test_the_gradients_of_the_projector(rng):
    """By finite differences in float64, for the features and for all four parameters."""
    layer, features = projector(rng, 3, 2), randn(rng, 2, 3)
    expect_gradients(layer, [features], what="the projector by its features")
    for parameter in layer.parameters():
        parameter.grad = None
    backward(layer(features).sum(), what="the projector's tokens")
    for name in PARAMETERS:
        parameter = dict(layer.named_parameters())[name]
        expect(parameter.grad is not None, f"{name} should get a gradient, but gets none", hint="no detach(), no .data")
        expect(parameter.grad.any(), f"{name} should get a gradient, but it is 0", hint="no detach(), no .data")


def test_the_gradient_of_selected_features():
    """1 at the patches of the layer, and 0 at its class token. Whoever trains the encoder needs it."""
    states = [torch.ones(1, 3, 2).double().requires_grad_() for _ in range(3)]
    backward(select_features(states).sum(), what="the features")
    want = numbers(0, 1, 1).reshape(1, 3, 1).expand(1, 3, 2)
    expect(states[1].grad is not None, "the layer should get a gradient, but gets none", hint="no detach()")
    expect_equal(states[1].grad, want, what="the gradient of the last layer but one", hint="[:, 1:]")
    for number in (0, 2):
        idle = states[number].grad is None or not states[number].grad.any()
        expect(idle, f"hidden state {number} of 3 should get no gradient by layer -2, but gets one")


@EVERY
def test_features_keep_their_dtype(rng, dtype):
    """Features are selected and not computed with."""
    states = [randn(rng, 2, 4, 3, dtype=dtype) for _ in range(3)]
    expect_equal(select_features(states), states[1][:, 1:], what=f"the features in {dtype}", hint="no cast")
