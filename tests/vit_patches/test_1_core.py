"""Stage 1. Patches of square pictures, the embedding's parameters and tokens."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, numbers, randn
from dojo.testing.modules import expect_parameters
from katas.vit_patches import PatchEmbedding, patchify

from .helpers import ORDER, embedding, grid_of, numbered, one_pixel, places_of

CLASS = "torch.cat([class token, patches], 1), then add the positions to the whole"


def test_a_worked_picture():
    """4 x 4 pixels, numbered from 0 row by row, in patches of 2 x 2. A reshape alone would give [0, 1, 2, 3] first: those
    are a row of the picture and no patch."""
    want = numbers(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15).reshape(1, 4, 4)
    what = "the patches of the picture 0, 1, 2, ..., 15"
    expect_equal(patchify(numbered(1, 1, 4, 4), 2), want, what=what, hint=ORDER)


def test_values_are_in_the_order_channel_row_column():
    """One patch of 3 x 3 pixels in 2 channels: all 9 pixels of the first channel, then those of the second. MAE has the
    channel last; a convolution's weight has it first."""
    hint = "of the six dimensions the last three are channel, row in the patch, column in the patch"
    got = patchify(numbered(1, 2, 3, 3), 3)
    expect_equal(got, numbered(1, 1, 1, 18)[0], what="the one patch of a picture 0, 1, ..., 17", hint=hint)


@pytest.mark.parametrize(("batch", "channels", "side", "patch_size"), [(2, 3, 6, 2), (3, 1, 6, 3), (1, 2, 8, 2)])
def test_each_pixel_has_its_place(rng, batch, channels, side, patch_size):
    """Of a picture of zeros with a single 1, the patches have a single 1."""
    shape = (batch, channels, side, side)
    for place in places_of(rng, shape, 6):
        image, channel, row, column = place
        patch = row // patch_size * (side // patch_size) + column // patch_size
        value = (channel * patch_size + row % patch_size) * patch_size + column % patch_size
        got = patchify(one_pixel(shape, place), patch_size)
        size = [batch, (side // patch_size) ** 2, channels * patch_size**2]
        what = f"of pictures {list(shape)} in patches of {patch_size}"
        expect_equal(list(got.shape), size, what=f"the shape of the patches {what}", hint="[batch, patches, values]")
        what = f"[picture, patch, value] of pixel {list(place)} {what}"
        expect_equal(got.nonzero().tolist(), [[image, patch, value]], what=what, hint=ORDER)


def test_patches_of_one_pixel():
    """Each patch is a pixel, with its channels as values."""
    want = numbers(0, 9, 1, 10, 2, 11, 3, 12, 4, 13, 5, 14, 6, 15, 7, 16, 8, 17).reshape(1, 9, 2)
    got = patchify(numbered(1, 2, 3, 3), 1)
    expect_equal(got, want, what="the patches of 1 x 1 of a picture 0, 1, ..., 17", hint=ORDER)


def test_each_picture_has_its_own_patches(rng):
    """Five pictures, against each by itself."""
    images = randn(rng, 5, 3, 4, 4)
    want = torch.cat([patchify(image[None], 2) for image in images])
    expect_equal(patchify(images, 2), want, what="the patches of 5 pictures, against each alone", hint=ORDER)


def test_the_parameters_of_the_embedding():
    """A convolution with a bias, one class token, and a position for each patch and for the class token."""
    shapes = {
        "projection.weight": [5, 3, 2, 2],
        "projection.bias": [5],
        "cls_token": [1, 1, 5],
        "positions": [1, 10, 5],
    }
    hint = "projection is nn.Conv2d(channels, dim, patch_size, stride=patch_size); the other two are nn.Parameters"
    layer = PatchEmbedding((6, 6), 2, 3, 5)
    what = "PatchEmbedding((6, 6), 2, 3, 5)"
    expect_parameters(layer, shapes, what=what, hint=hint)
    frozen = [name for name, parameter in layer.named_parameters() if not parameter.requires_grad]
    expect_equal(frozen, [], what=f"the parameters of {what} that do not train", hint="all four learn")


def test_the_embedding_starts_with_numbers():
    """Zeros will do for the class token, and small random numbers are usual for the positions. Memory that nobody has
    filled is NaN here, so that it shows every time."""
    torch.set_deterministic_debug_mode("warn")  # torch.empty gives NaN
    try:
        layer = PatchEmbedding((6, 6), 2, 3, 5)
    finally:
        torch.set_deterministic_debug_mode("default")
    for name, parameter in layer.named_parameters():
        sentence = f"{name} should hold numbers at the start, but holds NaN or infinity"
        expect(parameter.isfinite().all(), sentence, hint="torch.empty only allocates; use torch.zeros or torch.randn")


def test_a_worked_embedding():
    """One channel, patches of 2 x 2, weights 1, 10, 100, 1000 and a bias of 0.5: a patch's token shows its four pixels."""
    weight = numbers(1, 10, 100, 1000).reshape(1, 1, 2, 2)
    layer = embedding(
        None, (4, 4), 2, 1, 1, projection_weight=weight, projection_bias=0.5, cls_token=-3.0, positions=0.0
    )
    image = numbers(1, 2, 5, 6, 3, 4, 7, 8, 9, 0, 1, 2, 0, 9, 3, 4).reshape(1, 1, 4, 4)
    want = numbers(-3, 4321.5, 8765.5, 9009.5, 4321.5).reshape(1, 5, 1)
    hint = "the class token, then projection(images) as [batch, patches, dim], row by row"
    expect_close(layer(image), want, what="the tokens without positions", hint=hint)


def test_the_class_token_comes_first_for_every_picture(rng):
    """It does not see the picture: attention does that later."""
    layer = embedding(rng, (4, 4), 2, 3, 5, positions=0.0)
    got = layer(randn(rng, 3, 3, 4, 4))
    expect_equal(
        list(got.shape), [3, 5, 5], what="the shape of the tokens of 3 pictures", hint="[batch, 1+patches, dim]"
    )
    want = layer.cls_token[0].expand(3, 5)
    expect_close(got[:, 0], want, what="the first token of each of 3 pictures, without positions", hint=CLASS)


def test_every_token_has_its_position(rng):
    """With a projection and a class token of zeros only the positions are left: the first for the class token."""
    layer = embedding(rng, (4, 4), 2, 3, 5, projection_weight=0.0, projection_bias=0.0, cls_token=0.0)
    got, want = layer(randn(rng, 2, 3, 4, 4)), layer.positions.expand(2, -1, -1)
    expect_close(got, want, what="the tokens where all but the positions is 0", hint=CLASS)
    layer = embedding(rng, (4, 4), 2, 3, 5, projection_weight=0.0, projection_bias=0.0)
    got, want = layer(randn(rng, 2, 3, 4, 4))[:, 0], (layer.cls_token + layer.positions[:, :1])[:, 0].expand(2, -1)
    expect_close(got, want, what="the class token with its position", hint=CLASS)


def test_the_projection_is_a_linear_layer_on_patches(rng):
    """The convolution's weight, flattened, times the values of patchify: one order for both."""
    layer, images = embedding(rng, (6, 6), 2, 3, 5, positions=0.0), randn(rng, 4, 3, 6, 6)
    want = patchify(images, 2) @ layer.projection.weight.flatten(1).T + layer.projection.bias
    hint = "stride = kernel = patch_size, no padding; flatten the grid and move dim to the end"
    what = "the tokens of the patches without positions, against patchify(images) @ weight.flatten(1).T + bias"
    expect_close(layer(images)[:, 1:], want, what=what, hint=hint)


def test_a_token_sees_its_own_patch_alone(rng):
    """Other pixels in the patch of row 1, column 2 change the token of row 1, column 2."""
    layer, images = embedding(rng, (6, 6), 2, 3, 5), randn(rng, 2, 3, 6, 6)
    other = images.clone()
    other[:, :, 2:4, 4:6] += 1 + randn(rng, 2, 3, 2, 2).abs()
    moved = (grid_of(layer(other), 3, 3) - grid_of(layer(images), 3, 3)).abs().amax((0, 3)) > 1e-6
    want = [[False] * 3, [False, False, True], [False] * 3]
    hint = "stride = kernel, and no mean over the tokens"
    expect_equal(moved.tolist(), want, what="which tokens of the 3 x 3 grid change with patch (1, 2)", hint=hint)
