"""Stage 2. Several pictures of different sizes, several rows, rows without a picture, wrong arguments."""

import re

import pytest
import torch

from dojo.testing import expect, expect_equal, expect_raises, randint, randn
from katas.image_tokens import expand_placeholders, image_labels, select_features, splice

from .helpers import IMAGE, ORDER, check_splice, expect_spliced, pictured, prompt

ONE_BY_ONE = "walk through the ids once; the i-th placeholder takes sizes[i]"
# Placeholders, the tokens of each picture and the pictures of each row; then what does not fit: row, placeholders, tokens.
UNEVEN = [
    ((".aaa....", ".bbb...."), (2, 4), (1, 1), (0, 3, 2)),  # 6 and 6: the total is right
    (("aaaaa...", ".bb....."), (5, 7), (1, 1), (1, 2, 7)),
    ((".aa.....", ".bbbb..."), (2, 3), (1, 1), (1, 4, 3)),
    (("..aa....", "........"), (2, 5), (1, 1), (1, 0, 5)),
    (("........", ".aaaaaa."), (3, 3), (2, 0), (0, 0, 6)),
    ((".aaaa.b.", "........"), (3, 4), (2, 0), (0, 5, 7)),
    ((".aa.....", "bbb....."), (2,), (1, 0), (1, 3, 0)),
]


@pytest.mark.parametrize(
    ("ids", "sizes", "want"),
    [
        ([IMAGE, 5, IMAGE], [2, 3], [IMAGE, IMAGE, 5, IMAGE, IMAGE, IMAGE]),
        ([5, IMAGE, 6, IMAGE, 7, IMAGE], [3, 1, 2], [5, *[IMAGE] * 3, 6, IMAGE, 7, IMAGE, IMAGE]),
        ([5, IMAGE, IMAGE, 6], [1, 4], [5, *[IMAGE] * 5, 6]),
        ([IMAGE], [4], [IMAGE] * 4),
    ],
    ids=["two", "three", "neighbours", "alone"],
)
def test_each_placeholder_has_its_own_size(ids, sizes, want):
    """Pictures of different shapes have different numbers of tokens (AnyRes, native resolution)."""
    expect_equal(expand_placeholders(ids, IMAGE, sizes), want, what=f"{ids} with the sizes {sizes}", hint=ONE_BY_ONE)


def test_expanded_placeholders_are_not_expanded_again():
    """Replacing 'the first placeholder' again and again finds those that the last replacement has written."""
    got = expand_placeholders([5, IMAGE, 6, IMAGE, 7], IMAGE, (2, 1))
    expect_equal(
        got, [5, IMAGE, IMAGE, 6, IMAGE, 7], what=f"[5, {IMAGE}, 6, {IMAGE}, 7] with the sizes (2, 1)", hint=ONE_BY_ONE
    )


def test_text_alone_is_not_expanded():
    """A new list all the same, so that whoever appends to it does not change the prompt."""
    for ids in ([], [4, 5, 6]):
        got = expand_placeholders(ids, IMAGE, [])
        expect_equal(got, ids, what=f"{ids} without a picture", hint="there is nothing to do")
        expect(got is not ids, f"the ids of {ids} should be a new list, but are the one that was given")


def test_expand_keeps_its_arguments():
    """A prompt is often used for several pictures."""
    ids, sizes = [5, IMAGE, 6, IMAGE], [2, 3]
    expand_placeholders(ids, IMAGE, sizes)
    expect_equal(ids, [5, IMAGE, 6, IMAGE], what="the ids after the call", hint="build a new list")
    expect_equal(sizes, [2, 3], what="the sizes after the call", hint="iterate over sizes; do not pop")


@pytest.mark.parametrize("row", ["aa.bbb", ".aaabb.", ".a.b.c.", "aabbbc", ".abbb..cc."])
def test_several_pictures_in_a_row(rng, row):
    """Each has its own tokens and its own place, with text between them or not."""
    check_splice(rng, row)


@pytest.mark.parametrize(
    "rows", [(".aa..", "bbb..", "...cc"), ("aaaa.", "..b..", ".cc.."), (".....", ".aa..", "..bbb")]
)
def test_each_row_has_its_own_pictures(rng, rows):
    """At different places and of different sizes. A mask of a wrong rank would fill columns, or the wrong row."""
    check_splice(rng, *rows)


@pytest.mark.parametrize(
    "rows",
    [
        ("aa.b.", ".....", ".ccc."),
        (".....", "a.bbc"),
        (".a.bb", "cc.d."),
        (".abb.", "....."),
        ("aab.c", ".d.ee", "fff.."),
    ],
)
def test_rows_with_different_numbers_of_pictures(rng, rows):
    """The features list all pictures of row 0 first, then those of row 1: not the first of each row."""
    check_splice(rng, *rows)


def test_without_pictures_the_embeddings_stay(rng):
    """A batch of text goes through the same code."""
    for shape in ((1, 3), (3, 4)):
        embeddings, ids = randn(rng, *shape, 2), randint(rng, 1, 40, *shape)
        got = splice(embeddings, ids, [], [0] * shape[0], IMAGE)
        hint = "torch.cat of an empty list is an error"
        expect_equal(got, embeddings, what=f"the embeddings of {list(shape)} text tokens without a picture", hint=hint)


def test_rows_may_change_their_order(rng):
    """With their pictures. Tuples are as good as lists."""
    rows = (".aa..b", "......", ".cccc.", "d..e..")
    given = pictured(rng, *rows)
    a, b, c, d, e = given["features"]
    order = torch.tensor([2, 3, 1, 0])
    moved = given | {"embeddings": given["embeddings"][order], "ids": given["ids"][order]}
    got = splice(**moved | {"features": (c, d, e, a, b), "images_per_row": (1, 2, 0, 2)})
    expect_equal(got, splice(**given)[order], what="the result for rows in another order", hint=ORDER)


def test_unlike_widths_and_lengths(rng):
    """One number wide, wider than long, and as long as wide."""
    for dim in (1, 5, 11):
        check_splice(rng, ".aa.b", "c.ddd", dim=dim)


def test_labels_of_several_pictures(rng):
    """All tokens of all pictures in all rows; text keeps its labels, and what is -100 already stays so."""
    ids, labels = prompt(rng, "aa.b.", ".....", ".cccc"), randint(rng, 50, 90, 3, 5)
    labels[1, :3] = -100
    want = labels.tolist()
    want[0][0] = want[0][1] = want[0][3] = -100
    want[2][1:] = [-100] * 4
    got = image_labels(labels, ids, IMAGE)
    expect_equal(
        got, torch.tensor(want), what="the labels of the rows aa.b. / ..... / .cccc", hint="labels.masked_fill"
    )


def test_the_ids_say_where_the_placeholders_are(rng):
    """Labels that hold image_id at text, and at the picture another number, -100 or EOS for example."""
    ids, labels = prompt(rng, ".aa.", image_id=7), torch.tensor([[7, -100, 2, 7]])
    got = image_labels(labels, ids, 7)
    want = torch.tensor([[7, -100, -100, 7]])
    expect_equal(got, want, what="the labels [7, -100, 2, 7] of the row .aa. with image_id 7", hint="ids == image_id")


def test_labels_are_a_new_tensor(rng):
    """Labels often are the ids themselves. Written in place, they take the placeholders out of the ids."""
    for row in (".aa.", "...."):
        ids = prompt(rng, row)
        before = ids.clone()
        got = image_labels(ids, ids, IMAGE)
        expect_equal(ids, before, what=f"the ids of the row {row} after the call", hint="not labels[...] = -100")
        got += 1
        expect_equal(ids, before, what=f"the ids of the row {row} after the labels are changed", hint="a new tensor")


def test_a_prompt_becomes_a_row(rng):
    """All steps: expanded ids have a place for each token, and a label for each text token."""
    ids = torch.tensor([expand_placeholders([5, IMAGE, 6, 7, IMAGE, 8], IMAGE, [3, 2])])
    embeddings, features = randn(rng, 1, 9, 4), [randn(rng, 3, 4), randn(rng, 2, 4)]
    given = {"embeddings": embeddings, "features": features}
    got = splice(embeddings, ids, features, [2], IMAGE)
    expect_spliced(got, given, ".aaa..bb.")
    got, want = image_labels(ids, ids, IMAGE), torch.tensor([[5, -100, -100, -100, 6, 7, -100, -100, 8]])
    expect_equal(got, want, what="the labels of the row .aaa..bb.", hint="-100 at all placeholders")


@pytest.mark.parametrize(("rows", "sizes", "images_per_row", "numbers"), UNEVEN)
def test_a_row_that_does_not_fit_is_named(rng, rows, sizes, images_per_row, numbers):
    """Cut by a limit of length, or expanded by a wrong size: without the check of each row a picture runs on into the next
    row, or an error without a sentence comes from the device."""
    given = pictured(rng, *rows) | {"images_per_row": images_per_row, "features": [randn(rng, n, 3) for n in sizes]}
    what = f"splice of the rows {', '.join(rows)} (letters are placeholders) with {images_per_row} pictures of {sizes} tokens"
    hint = "count placeholders and tokens row by row before any is moved; the total alone hides two wrong rows"
    message = "no ValueError"
    with expect_raises(what=what, hint=hint):
        try:
            splice(**given)
        except ValueError as error:
            message = str(error)
            raise
    missing = [number for number in numbers if str(number) not in re.findall(r"\d+", message)]
    sentence = f"{what} should name row {numbers[0]}, its {numbers[1]} placeholders and its {numbers[2]} tokens"
    expect(not missing, f"{sentence}, but says {message!r}", hint="all three numbers, in digits; rows count from 0")


@pytest.mark.parametrize(
    ("ids", "sizes"),
    [
        ([IMAGE, 5, IMAGE], [2]),
        ([IMAGE, 5], [2, 2]),
        ([5, 6], [2]),
        ([IMAGE], []),
        ([IMAGE], [0]),
        ([IMAGE, IMAGE], [3, -1]),
    ],
)
def test_wrong_sizes_are_refused(ids, sizes):
    """One too few, one too many, or a picture of nothing, which would vanish from the prompt."""
    with expect_raises(what=f"expand_placeholders({ids}, {IMAGE}, {sizes})", hint="one size of at least 1 each"):
        expand_placeholders(ids, IMAGE, sizes)


@pytest.mark.parametrize("layer", [4, 5, -5])
def test_wrong_layers_are_refused(rng, layer):
    """The first and the last of 4 hidden states are -4 and 3."""
    with expect_raises(what=f"select_features of 4 hidden states with layer={layer}", hint="-4 to 3"):
        select_features(list(randn(rng, 4, 2, 3, 5)), layer)


@pytest.mark.parametrize("images_per_row", [[1], [1, 1, 0], [2, 1], [1, 0], [0, 1], [3, -1], [-1, 3], []])
def test_wrong_numbers_of_pictures_are_refused(rng, images_per_row):
    """Of two rows and two pictures of one token each."""
    given = pictured(rng, ".a.", ".b.") | {"images_per_row": images_per_row}
    with expect_raises(what=f"images_per_row={images_per_row} for 2 rows and 2 pictures", hint="one each, 2 in all"):
        splice(**given)


@pytest.mark.parametrize(
    ("rows", "images_per_row", "count"), [((".a.", ".b."), [1, 1], 3), (("...", ".a."), [-1, 2], 1)]
)
def test_pictures_without_a_row_are_refused(rng, rows, images_per_row, count):
    """Each row has as many placeholders as tokens here, but a picture is left over, or counted backwards."""
    given = pictured(rng, *rows) | {"images_per_row": images_per_row, "features": list(randn(rng, count, 1, 3))}
    with expect_raises(what=f"images_per_row={images_per_row} of {count} pictures", hint="the sum, and none below 0"):
        splice(**given)


@pytest.mark.parametrize("width", [2, 4, 6])
def test_tokens_of_another_width_are_refused(rng, width):
    """Features that no projector has seen. The wider ones would fill the row with the start of their numbers."""
    given = pictured(rng, ".aa.") | {"features": [randn(rng, 2, width)]}
    with expect_raises(what=f"tokens that are {width} wide, in embeddings that are 3 wide", hint="compare the widths"):
        splice(**given)


@pytest.mark.parametrize("shape", [(2, 4), (1, 5), (2, 1), (1, 10), (5, 2), (10,)])
def test_wrong_shapes_are_refused(rng, shape):
    """Ids that would broadcast, and as many as there should be in another shape."""
    ids = prompt(rng, ".....", ".....").flatten()[: torch.Size(shape).numel()].reshape(shape)
    with expect_raises(what=f"splice of ids {list(shape)} with embeddings [2, 5, 3]", hint="compare the shapes"):
        splice(randn(rng, 2, 5, 3), ids, [], [0, 0], IMAGE)
    with expect_raises(what=f"image_labels of labels [2, 5] with ids {list(shape)}", hint="compare the shapes"):
        image_labels(randint(rng, 1, 40, 2, 5), ids, IMAGE)
