"""Stage 2. Rectangles, the inverse, resized positions, other resolutions, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect_close, expect_equal, expect_raises, expect_unchanged, randn
from katas.vit_patches import PatchEmbedding, patchify, resize_positions, unpatchify

from .helpers import HALF, ORDER, SIZES, TWICE, embedding, grid_of, of_grid, one_pixel, places_of
from .probe import WRONG_CUTS, WRONG_GRIDS, WRONG_PATCHES

RECTANGLES = [
    (2, 3, 4, 6, 2),
    (1, 2, 9, 3, 3),
    (3, 1, 2, 8, 2),
    (2, 4, 6, 10, 1),
]  # batch, channels, height, width, patch
GRIDS = [((3, 3), (5, 5)), ((2, 4), (5, 3)), ((4, 3), (4, 7)), ((5, 4), (2, 4)), ((1, 3), (4, 2)), ((2, 6), (4, 3))]
INVERSE = "the same six dimensions, permuted back: batch, channel, row of the grid, row in the patch, both columns"
AXES = "unflatten the places to [rows, columns], move dim before them, interpolate, and move it back"
BICUBIC = "F.interpolate(..., size=new_grid, mode='bicubic', align_corners=False), without antialias or scale_factor"
BY_GRID = "compare the grids, not the number of patches; keep the grid of image_size in __init__"


def test_each_pixel_of_a_rectangle_has_its_place(rng):
    """The rows of the grid have width / patch_size patches."""
    for batch, channels, height, width, patch_size in RECTANGLES:
        shape = (batch, channels, height, width)
        for place in places_of(rng, shape, 4):
            image, channel, row, column = place
            patch = row // patch_size * (width // patch_size) + column // patch_size
            value = (channel * patch_size + row % patch_size) * patch_size + column % patch_size
            got = patchify(one_pixel(shape, place), patch_size).nonzero().tolist()
            what = (
                f"[picture, patch, value] of pixel {list(place)} of pictures {list(shape)} in patches of {patch_size}"
            )
            expect_equal(got, [[image, patch, value]], what=what, hint=SIZES)


def test_unpatchify_undoes_patchify(rng):
    """Exactly, in both directions."""
    for batch, channels, height, width, patch_size in [*RECTANGLES, (2, 3, 6, 6, 3)]:
        images = randn(rng, batch, channels, height, width)
        what = f"pictures {list(images.shape)} after patchify and unpatchify with {patch_size}"
        patches = patchify(images, patch_size)
        expect_equal(unpatchify(patches, patch_size, height, width), images, what=what, hint=INVERSE)
        patches = randn(rng, *patches.shape)
        got = patchify(unpatchify(patches, patch_size, height, width), patch_size)
        expect_equal(got, patches, what=f"patches {list(patches.shape)} after unpatchify and patchify", hint=INVERSE)


def test_a_worked_inverse():
    """Two patches of 2 x 2 pixels, 0 to 3 and 4 to 7: beside each other, and below each other."""
    patches = torch.arange(8.0).reshape(1, 2, 4)
    for height, width, want in ((2, 4, [0, 1, 4, 5, 2, 3, 6, 7]), (4, 2, [0, 1, 2, 3, 4, 5, 6, 7])):
        got = unpatchify(patches, 2, height, width)
        want = torch.tensor(want).float().reshape(1, 1, height, width)
        what = f"unpatchify of [0, 1, 2, 3] and [4, 5, 6, 7] to {height} x {width}"
        expect_equal(got, want, what=what, hint=INVERSE)


def test_other_memory_layouts_give_the_same(rng):
    """A crop, channels last and a transposed picture have other strides: .view() refuses some of them."""
    images = randn(rng, 2, 3, 4, 6)
    want, layer = patchify(images, 2), embedding(rng, (4, 6), 2, 3, 5)
    layouts = {
        "a crop": torch.cat([images, images], 3)[..., 6:],
        "channels last": images.contiguous(memory_format=torch.channels_last),
        "transposed": images.mT.contiguous().mT,
    }
    tokens = layer(images)
    for name, given in layouts.items():
        with called_for(f"images that are {name}", hint="reshape instead of view"):
            got, embedded = patchify(given, 2), layer(given)
        expect_equal(got, want, what=f"the patches of images that are {name}")
        expect_close(embedded, tokens, what=f"the tokens of images that are {name}")
    with called_for("patches that are transposed", hint="reshape instead of view"):
        got = unpatchify(want.mT.contiguous().mT, 2, 4, 6)
    expect_equal(got, images, what="the pictures of patches that are transposed")


def test_an_empty_batch_gives_an_empty_result(rng):
    """No picture, but all other sizes: a -1 in reshape cannot be inferred from nothing."""
    hint = "give all sizes to reshape"
    with called_for("a batch without pictures", hint=hint):
        patches, tokens = patchify(torch.zeros(0, 3, 4, 6), 2), PatchEmbedding((4, 6), 2, 3, 5)(torch.zeros(0, 3, 4, 6))
        images = unpatchify(torch.zeros(0, 6, 12), 2, 4, 6)
    expect_equal(list(patches.shape), [0, 6, 12], what="the shape of the patches of no picture", hint=hint)
    expect_equal(list(images.shape), [0, 3, 4, 6], what="the shape of the pictures of no patches", hint=hint)
    expect_equal(list(tokens.shape), [0, 7, 5], what="the shape of the tokens of no picture", hint=hint)


def test_the_class_position_stays(rng):
    """It has no place in the picture."""
    for old, new in GRIDS:
        positions = randn(rng, 1, 1 + old[0] * old[1], 3)
        got = resize_positions(positions, old, new)
        what = f"of positions of a grid {old}, resized to {new}"
        expect_equal(list(got.shape), [1, 1 + new[0] * new[1], 3], what=f"the shape {what}", hint="1 + rows * columns")
        expect_equal(
            got[:, 0], positions[:, 0], what=f"the first row {what}", hint="cut it off, and put it back unchanged"
        )


def test_equal_positions_stay_equal(rng):
    """The weights of a cubic convolution add up to 1, beyond the border as well. The dimensions do not mix."""
    for old, new in GRIDS:
        cls, value = randn(rng, 2, 5)
        got = resize_positions(of_grid(cls, value.expand(*old, 5)), old, new)
        want = of_grid(cls, value.expand(*new, 5))
        expect_close(got, want, what=f"equal positions of a grid {old}, resized to {new}", hint=AXES)


def test_rows_and_columns_are_resized_by_themselves(rng):
    """Positions that depend on the row alone still do, and are those of a grid of one column; columns likewise."""
    for old, new in GRIDS:
        (rows, columns), cls = old, torch.zeros(3, dtype=torch.float64)
        for axis, size, line in ((0, rows, (rows, 1)), (1, columns, (1, columns))):
            values, target = randn(rng, *line, 3), (new[0], 1) if axis == 0 else (1, new[1])
            alone = resize_positions(of_grid(cls, values), line, target)[:, 1:].reshape(*target, 3)
            got = resize_positions(of_grid(cls, values.expand(rows, columns, 3)), old, new)
            what = f"positions of {size} {('rows', 'columns')[axis]}, alike in the other direction, from {old} to {new}"
            expect_close(got, of_grid(cls, alone.expand(*new, 3)), what=what, hint=SIZES)


def test_the_grids_transpose_with_the_positions(rng):
    """Height and width are treated alike."""
    grid, cls = randn(rng, 2, 5, 3), randn(rng, 3)
    want = resize_positions(of_grid(cls, grid), (2, 5), (4, 3))[:, 1:].reshape(4, 3, 3)
    got = resize_positions(of_grid(cls, grid.transpose(0, 1)), (5, 2), (3, 4))
    expect_close(
        got, of_grid(cls, want.transpose(0, 1)), what="the transposed positions, resized to (3, 4)", hint=SIZES
    )


@pytest.mark.parametrize("grid", [(3, 3), (2, 5), (1, 1)], ids=str)
def test_equal_grids_return_equal_values(rng, grid):
    """Exactly: the model that was trained is to compute what it computed."""
    positions = randn(rng, 1, 1 + grid[0] * grid[1], 3)
    got = resize_positions(positions, grid, grid)
    expect_equal(got, positions, what=f"the positions of the same grid {grid}", hint="align_corners=False")


@pytest.mark.parametrize("columns", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize(("size", "lines"), [(8, TWICE), (2, HALF)], ids=["doubled", "halved"])
def test_worked_positions_of_a_line(columns, size, lines):
    """Four patches in a line, of which the first, and in a second dimension the second, is 1. Bilinear weights would be
    3/4 and 1/4, with corners aligned the ends would stay, and antialiasing reads more than 4 patches when it halves."""
    grid = torch.eye(4)[:, :2].double()[:, None]  # [rows, 1, dim]
    want, old, new = torch.stack(lines, -1)[:, None], (4, 1), (size, 1)
    if columns:
        grid, want, old, new = grid.transpose(0, 1), want.transpose(0, 1), old[::-1], new[::-1]
    cls = torch.full((2,), 9.0).double()
    got = resize_positions(of_grid(cls, grid), old, new)
    expect_close(got, of_grid(cls, want), what=f"the positions 1 0 0 0 and 0 1 0 0, from {old} to {new}", hint=BICUBIC)


def test_worked_positions_of_a_grid():
    """4 x 4 patches, of which one is 1, to 8 x 2: the product of what its row and its column give."""
    cls = torch.zeros(1).double()
    for row in (0, 1):
        for column in (0, 1):
            got = resize_positions(of_grid(cls, one_pixel((4, 4, 1), (row, column))), (4, 4), (8, 2))
            want = of_grid(cls, torch.outer(TWICE[row], HALF[column])[..., None])
            what = f"positions that are 1 in row {row} and column {column}, from (4, 4) to (8, 2)"
            expect_close(got, want, what=what, hint=SIZES)


@pytest.mark.parametrize(("old", "new"), [((11, 2), (15, 2)), ((2, 11), (3, 15)), ((23, 1), (13, 1))], ids=str)
def test_the_new_size_is_exact(rng, old, new):
    """11 * (15 / 11) is 14.999... in floating point, and would be rounded down. Adding 0.1 first shifts every place."""
    got = resize_positions(randn(rng, 1, 1 + old[0] * old[1], 3), old, new)
    what = f"the number of positions from {old} to {new}"
    expect_equal(list(got.shape), [1, 1 + new[0] * new[1], 3], what=what, hint="size=new_grid, not scale_factor")


@pytest.mark.parametrize(("size", "other"), [((4, 4), (8, 6)), ((6, 4), (4, 6)), ((4, 4), (2, 8)), ((4, 8), (2, 2))])
def test_another_resolution_gets_resized_positions(rng, size, other):
    """Everything but the positions is 0. 2 x 8 pixels have as many patches as 4 x 4, at other places."""
    layer = embedding(rng, size, 2, 3, 5, projection_weight=0.0, projection_bias=0.0, cls_token=0.0)
    old, new = ((height // 2, width // 2) for height, width in (size, other))
    want = resize_positions(layer.positions, old, new).expand(2, -1, -1)
    what = f"the tokens of pictures {other} in an embedding for {size}, where all but the positions is 0"
    with called_for(what, hint=BY_GRID):
        got = layer(randn(rng, 2, 3, *other))
    expect_close(got, want, what=what, hint=BY_GRID)


@pytest.mark.parametrize("size", [(4, 6), (6, 4), (2, 8)], ids=str)
def test_pictures_of_other_sizes_are_embedded_alike(rng, size):
    """Without positions, an embedding for 4 x 4 projects any picture's patches, row by row."""
    layer, images = embedding(rng, (4, 4), 2, 3, 5, positions=0.0), randn(rng, 3, 3, *size)
    patches = patchify(images, 2) @ layer.projection.weight.flatten(1).T + layer.projection.bias
    want = torch.cat([layer.cls_token.expand(3, -1, -1), patches], 1)
    expect_close(layer(images), want, what=f"the tokens without positions of pictures of {size}", hint=ORDER)


def test_a_moved_picture_moves_the_tokens(rng):
    """By one patch to the right and one down, the tokens of a 2 x 3 grid do the same, without positions."""
    layer, images = embedding(rng, (4, 6), 2, 3, 5, positions=0.0), randn(rng, 2, 3, 4, 6)
    for shifts, moves in (((0, 2), (0, 1)), ((2, 0), (1, 0))):
        got = grid_of(layer(images.roll(shifts, (2, 3))), 2, 3)
        want = grid_of(layer(images), 2, 3).roll(moves, (1, 2))
        expect_close(got, want, what=f"the grid of tokens of a picture that is moved by {shifts} pixels", hint=SIZES)


def test_another_resolution_leaves_no_trace(rng):
    """The parameter stays as it is, and the next picture is resized from its values of that moment."""
    layer, (small, large) = embedding(rng, (4, 4), 2, 3, 5), (randn(rng, 1, 3, 4, 4), randn(rng, 1, 3, 8, 6))
    with expect_unchanged(layer.positions, layer.cls_token, small, large, what="a parameter or a picture"):
        before, other = layer(small), layer(large)
        again = layer(small)
    expect_close(
        again, before, what="the tokens of a picture after one of another size", hint="keep no resized positions"
    )
    shift = torch.arange(5).double()
    with torch.no_grad():
        layer.positions += shift
    hint = "resize in each forward; positions may have been trained in between"
    expect_close(layer(large), other + shift, what="the tokens after positions have changed", hint=hint)


def test_arguments_are_not_modified(rng):
    """Neither pictures, patches nor positions."""
    images, patches, positions = randn(rng, 1, 3, 4, 4), randn(rng, 1, 4, 12), randn(rng, 1, 5, 3)
    with expect_unchanged(images, patches, positions, what="an argument"):
        patchify(images, 2)
        unpatchify(patches, 2, 4, 4)
        resize_positions(positions, (2, 2), (3, 3))


@pytest.mark.parametrize(("height", "width", "patch_size"), WRONG_CUTS)
def test_pictures_that_cannot_be_cut_are_errors(height, width, patch_size):
    """height // patch_size leaves a border out without a word."""
    what, hint = (
        f"for {height} x {width} pixels and patch_size {patch_size}",
        "if height % patch_size or width % patch_size",
    )
    with expect_raises(ValueError, what=f"patchify {what}", hint=hint):
        patchify(torch.zeros(1, 2, height, width), patch_size)
    count = (height // (patch_size or 1)) * (width // (patch_size or 1))
    with expect_raises(ValueError, what=f"unpatchify {what}", hint=hint):
        unpatchify(torch.zeros(1, count, 2 * patch_size**2), patch_size, height, width)
    with expect_raises(ValueError, what=f"PatchEmbedding {what}", hint=hint):
        PatchEmbedding((height, width), patch_size, 2, 3)
    if patch_size > 1:
        layer = PatchEmbedding((2 * patch_size, 2 * patch_size), patch_size, 2, 3)
        with expect_raises(ValueError, what=f"the embedding {what}", hint=hint):
            layer(torch.zeros(1, 2, height, width))


@pytest.mark.parametrize("shape", WRONG_PATCHES, ids=str)
def test_patches_of_another_picture_are_errors(shape):
    """A -1 in reshape takes 8 patches of a channel for 4 patches of two."""
    what = f"unpatchify of patches {shape} with patch_size 2 to 4 x 4"
    with expect_raises(ValueError, what=what, hint="the number of patches, and values % patch_size**2"):
        unpatchify(torch.zeros(shape), 2, 4, 4)


@pytest.mark.parametrize(("count", "old", "new"), WRONG_GRIDS, ids=str)
def test_positions_of_another_grid_are_errors(count, old, new):
    """A number of positions says nothing about the shape of the grid, but it must fit."""
    with expect_raises(ValueError, what=f"resize_positions of {count} positions from {old} to {new}"):
        resize_positions(torch.zeros(1, count, 3), old, new)


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_other_channels_are_errors(channels):
    """A grey picture would otherwise stop in the convolution, with an error of torch's."""
    layer = PatchEmbedding((4, 4), 2, 3, 5)
    with expect_raises(ValueError, what=f"an embedding for 3 channels, called with {channels}"):
        layer(torch.zeros(1, channels, 4, 4))
