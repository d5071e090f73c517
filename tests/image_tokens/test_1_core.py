"""Stage 1. The features of a layer, the projector, one picture."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, numbers, randint, randn
from dojo.testing.modules import expect_parameters
from katas.image_tokens import Projector, expand_placeholders, image_labels, select_features

from .helpers import check_splice, projector, prompt

STATES = torch.arange(4 * 2 * 3 * 5).reshape(4, 2, 3, 5).double()  # 2 pictures, class token and 2 patches, 5 wide
GELU = "x * Phi(x) with the normal distribution function: nn.GELU() or F.gelu, not ReLU, not approximate='tanh'"


def test_features_come_from_the_last_layer_but_one():
    """The last layer has turned its patches towards the class token that CLIP was trained to compare with a text."""
    got = select_features(list(STATES))
    hint = "hidden_states[-2], and of it all but the class token, which is first: [:, 1:]"
    expect_equal(list(getattr(got, "shape", [])), [2, 2, 5], what="the shape of the features of 2 patches", hint=hint)
    expect_equal(got, STATES[2, :, 1:], what="the features of 4 hidden states", hint=hint)


@pytest.mark.parametrize("layer", [-4, -3, -2, -1, 0, 1, 2, 3])
def test_a_layer_is_an_index_of_the_hidden_states(layer):
    """The first entry is the embeddings, so that layer 1 is the output of the first layer."""
    got = select_features(tuple(STATES), layer)
    want = STATES[{-4: 0, -3: 1, -2: 2, -1: 3}.get(layer, layer), :, 1:]
    hint = "the embeddings are entry 0, and a negative number counts from the end"
    expect_equal(got, want, what=f"the features of 4 hidden states at layer={layer}", hint=hint)


def test_the_parameters_of_the_projector():
    """A checkpoint of LLaVA has these four for each projector."""
    shapes = {"linear_1.weight": [4, 3], "linear_1.bias": [4], "linear_2.weight": [4, 4], "linear_2.bias": [4]}
    layer, what = Projector(3, 4), "Projector(3, 4)"
    hint = "nn.Linear(vision_dim, text_dim), then nn.Linear(text_dim, text_dim)"
    expect_parameters(layer, shapes, what=what, hint=hint)
    frozen = [name for name, parameter in layer.named_parameters() if not parameter.requires_grad]
    expect_equal(frozen, [], what=f"the parameters of {what} that do not train", hint="all four learn")


def test_the_projector_starts_with_numbers():
    """Memory that nobody has filled is NaN here, so that it shows every time."""
    torch.set_deterministic_debug_mode("warn")  # torch.empty gives NaN
    try:
        layer = Projector(3, 4)
    finally:
        torch.set_deterministic_debug_mode("default")
    for name, parameter in layer.named_parameters():
        sentence = f"{name} should hold numbers at the start, but holds NaN or infinity"
        expect(parameter.isfinite().all(), sentence, hint="nn.Linear fills its parameters; torch.empty does not")


def test_the_activation_is_gelu():
    """Both layers only copy, so that the projector is its activation."""
    eye = torch.eye(5)
    layer = projector(None, 5, 5, linear_1_weight=eye, linear_1_bias=0.0, linear_2_weight=eye, linear_2_bias=0.0)
    got = layer(numbers(-2, -1, 0, 1, 2))
    want = numbers(-0.04550026389635842, -0.15865525393145707, 0, 0.8413447460685429, 1.9544997361036416)
    expect_close(got, want, what="the projector of copying layers at -2, -1, 0, 1, 2", hint=GELU)


def test_a_worked_token():
    """GELU keeps numbers as large as these, and makes 0 of negative ones. The hidden numbers are 11, 22 and -34, of which the last becomes 0."""
    layer = projector(
        None,
        2,
        3,
        linear_1_weight=numbers(1, 0, 0, 1, -1, -1).reshape(3, 2),
        linear_1_bias=numbers(1, 2, -4),
        linear_2_weight=numbers(1, 0, 0, 1, -1, 0, 0, 1, 2).reshape(3, 3),
        linear_2_bias=numbers(-1, 0.5, 0.25),
    )
    what = "the token of the features [10, 20]"
    expect_close(
        layer(numbers(10, 20)), numbers(10, -10.5, 22.25), what=what, hint="linear_2(gelu(linear_1(features)))"
    )


@pytest.mark.parametrize("leading", [(7,), (2, 4), (2, 3, 2)])
def test_each_vector_has_its_own_token(rng, leading):
    """Against each vector by itself: the projector knows neither pictures nor neighbours."""
    layer, features = projector(rng, 5, 3), randn(rng, *leading, 5)
    with torch.no_grad():
        got, want = layer(features), torch.stack([layer(each) for each in features.flatten(0, -2)])
    hint = "both layers are linear in the last dimension"
    expect_equal([*got.shape], [*leading, 3], what=f"the shape of the tokens of features [{leading}, 5]", hint=hint)
    expect_close(got.flatten(0, -2), want, what="the tokens, against each vector alone", hint=hint)


@pytest.mark.parametrize("image_id", [-200, 0, 9])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_a_placeholder_for_each_token(size, image_id):
    """A picture of 576 tokens needs 576 places. One placeholder alone leaves 575 of them without a place."""
    got = expand_placeholders([3, image_id, 4, 5], image_id, [size])
    want = [3, *[image_id] * size, 4, 5]
    hint = "in place of the one placeholder stand sizes[0] of them, not one more"
    expect_equal(got, want, what=f"[3, {image_id}, 4, 5] with a picture of {size} tokens", hint=hint)


@pytest.mark.parametrize("row", [".aaa..", "aaa", "aa.", "..a", ".aaaaa."])
def test_the_tokens_stand_at_the_placeholders(rng, row):
    """One row and one picture: at the start, in the middle, at the end, or nothing but the picture."""
    check_splice(rng, row)


@pytest.mark.parametrize("image_id", [-200, 0, 7])
def test_any_id_may_be_the_placeholder(rng, image_id):
    """Models with a token of their own for pictures have one in the vocabulary; LLaVA's first code took -200."""
    check_splice(rng, "..aaa.", image_id=image_id, hint="compare with image_id")
    ids = prompt(rng, "..aaa.", image_id=image_id)
    got = image_labels(ids, ids, image_id)
    want = [[*ids[0, :2].tolist(), -100, -100, -100, ids[0, 5].item()]]
    expect_equal(got, torch.tensor(want), what=f"labels with the image_id {image_id}", hint="compare with image_id")


def test_the_labels_of_a_picture_do_not_count(rng):
    """No loss for a token that no model should write. The text keeps its labels, also the one right after the picture."""
    ids, labels = prompt(rng, "..aaa..."), randint(rng, 50, 90, 1, 8)
    want = labels.tolist()
    want[0][2:5] = [-100] * 3
    hint = "-100 at all placeholders, and nowhere else: the loss does the shift"
    got = image_labels(labels, ids, -200)
    expect_equal(got, torch.tensor(want), what=f"the labels {labels.tolist()} of the row ..aaa...", hint=hint)
