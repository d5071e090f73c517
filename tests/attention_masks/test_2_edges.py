"""Stage 2. A cache, sinks, packed documents, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect, expect_equal, expect_raises, expect_unchanged
from katas.attention_masks import (
    alibi_bias,
    alibi_slopes,
    causal_mask,
    document_mask,
    document_positions,
    window_attention,
    window_mask,
)

from .helpers import expect_mask, packed, picture, qkv

LAST = "the last query stands at the last key: query i is at place keys - queries + i"
SINKS = "query i sees key j if j <= i and (i - j < window or j < sinks)"
DOCUMENTS = "query i sees key j if both have the same label, j <= i, and the label is not -1"
RESTART = "the place minus the place at which the document begins"


def mask_of(documents):
    """The mask; an error says for which labels."""
    with called_for(f"document_mask({documents.tolist()})"):
        return document_mask(documents)


def positions_of(documents):
    """The positions; an error says for which labels."""
    with called_for(f"document_positions({documents.tolist()})"):
        return document_positions(documents)


def test_a_causal_mask_with_a_cache():
    """Two new tokens behind two cached ones. Aligned to the upper left, the first would see key 0 alone."""
    expect_mask(causal_mask(2, 4), picture("xxx.", "xxxx"), what="causal_mask(2, 4)", hint=LAST)
    want = picture("..xxx.", "...xxx")
    expect_mask(window_mask(2, 6, 3), want, what="window_mask(2, 6, window=3)", hint=LAST)


@pytest.mark.parametrize("queries", [1, 3, 7])
def test_the_newest_queries_see_what_they_saw_among_all(queries):
    """A decode step's mask is the last row of the prompt's: a cache changes no answer."""
    want = causal_mask(7, 7)[-queries:]
    expect_mask(causal_mask(queries, 7), want, what=f"causal_mask({queries}, 7)", hint=LAST)
    for window in (1, 2, 4, 7, 9):
        for sinks in (0, 1, 3):
            want = window_mask(7, 7, window, sinks=sinks)[-queries:]
            what = f"window_mask({queries}, 7, window={window}, sinks={sinks})"
            expect_mask(window_mask(queries, 7, window, sinks=sinks), want, what=what, hint=LAST)


def test_sinks_stay_visible():
    """The first tokens take the attention that no other token wants; without them a streaming model breaks down."""
    want = picture("x.....", "xx....", "xx....", "xxxx..", "xx.xx.", "xx..xx")
    want[2, 2] = True
    expect_mask(window_mask(6, 6, 2, sinks=2), want, what="window_mask(6, 6, window=2, sinks=2)", hint=SINKS)
    want = picture("x..xx.", "x...xx")
    expect_mask(window_mask(2, 6, 2, sinks=1), want, what="window_mask(2, 6, window=2, sinks=1)", hint=SINKS)


@pytest.mark.parametrize(("queries", "keys"), [(6, 6), (2, 6), (1, 6)])
def test_sinks_add_the_first_keys_of_the_past(queries, keys):
    """Their columns are those of the causal mask, all others those of the window. The window keeps its size."""
    for window in (1, 2, 5):
        for sinks in (0, 1, 3, 6, 9):
            want = window_mask(queries, keys, window)
            want[:, :sinks] = causal_mask(queries, keys)[:, :sinks]
            what = f"window_mask({queries}, {keys}, window={window}, sinks={sinks})"
            expect_mask(window_mask(queries, keys, window, sinks=sinks), want, what=what, hint=SINKS)


def test_a_mask_of_two_documents():
    """Two tokens of document 7 and three of document 3, in one row. Each document is causal in itself."""
    want = picture("x....", "xx...", "..x..", "..xx.", "..xxx")
    found = mask_of(torch.tensor([7, 7, 3, 3, 3]))
    expect_mask(found, want, what="document_mask([7, 7, 3, 3, 3])", hint=DOCUMENTS)


def test_positions_restart_in_each_document():
    """Masked attention with running positions is not what the document alone gets: its first token would stand at 2."""
    found = positions_of(torch.tensor([7, 7, 3, 3, 3]))
    want = torch.tensor([0, 1, 0, 1, 2])
    expect_equal(found, want, what="document_positions([7, 7, 3, 3, 3])", hint=RESTART)
    found = positions_of(torch.tensor([4, 9, 2]))
    what = "document_positions of three documents of one token"
    expect_equal(found, torch.zeros(3, dtype=torch.int64), what=what, hint=RESTART)


def test_one_document_is_causal():
    """One label throughout, of any value: 0 is a document as well, not padding."""
    for label in (0, 1, 5, 2**40):
        documents = torch.full((4,), label)
        what = f"document_mask of four tokens of document {label}"
        expect_mask(mask_of(documents), causal_mask(4, 4), what=what, hint=DOCUMENTS)
        what = f"document_positions of four tokens of document {label}"
        expect_equal(positions_of(documents), torch.arange(4), what=what, hint=RESTART)


def test_large_labels_are_labels_of_their_own():
    """float32 would round the second to the first, and int32 the third to the second."""
    documents = torch.tensor([2**24, 2**24 + 1, 2**24 + 1 + 2**32])
    found = mask_of(documents)
    what = f"document_mask({documents.tolist()})"
    expect_mask(found, torch.eye(3).bool(), what=what, hint="compare the labels as they are, in int64")
    what = f"document_positions({documents.tolist()})"
    want = torch.zeros(3, dtype=torch.int64)
    expect_equal(positions_of(documents), want, what=what, hint="compare the labels as they are, in int64")


def test_padding_sees_nothing_and_is_seen_by_nobody():
    """-1, at the end, at the beginning, in between: no document is formed of it, and a padded token does not see itself."""
    want = picture("x....", "xx...", "..x..", ".....", ".....")
    found = mask_of(torch.tensor([1, 1, 0, -1, -1]))
    expect_mask(found, want, what="document_mask([1, 1, 0, -1, -1])", hint=DOCUMENTS)
    want = picture(".....", ".....", "..x..", ".....", "....x")
    found = mask_of(torch.tensor([-1, -1, 0, -1, 3]))
    expect_mask(found, want, what="document_mask([-1, -1, 0, -1, 3])", hint=DOCUMENTS)
    found = mask_of(torch.full((3,), -1))
    expect_mask(found, torch.zeros(3, 3).bool(), what="document_mask of padding alone", hint=DOCUMENTS)


def test_positions_count_from_the_document_behind_padding():
    """At padding they are free, but a table of n positions is looked up there, too."""
    for labels, want in (([-1, -1, 4, 4, 4], [0, 1, 2]), ([4, 4, -1, -1, 2], [0, 1, 0]), ([-1, -1, -1], [])):
        documents = torch.tensor(labels)
        found = positions_of(documents)
        what = f"the shape of document_positions({labels})"
        expect_equal(list(getattr(found, "shape", [])), [len(labels)], what=what)
        real = documents >= 0
        what = f"document_positions({labels}) at real tokens"
        expect_equal(found[real], torch.tensor(want, dtype=torch.int64), what=what, hint=RESTART)
        inside = ((found >= 0) & (found < len(labels))).all()
        sentence = f"document_positions({labels}) should lie in 0 ... {len(labels) - 1}, but is {found.tolist()}"
        expect(inside, sentence, hint="clamp, or leave what padding would have as a run of its own")


def test_each_document_might_as_well_be_alone(rng):
    """Its block is the causal mask of its length, and nothing is visible outside of the blocks."""
    documents, (slices,) = packed(rng, n=16)
    labels = documents.tolist()
    want = torch.zeros(16, 16).bool()
    for own in slices:
        want[own, own] = causal_mask(own.stop - own.start, own.stop - own.start)
    expect_mask(mask_of(documents), want, what=f"document_mask({labels})", hint=DOCUMENTS)
    positions = positions_of(documents)
    for own in slices:
        what = f"the positions of document {labels[own.start]} in {labels}"
        expect_equal(positions[own], torch.arange(own.stop - own.start), what=what, hint=RESTART)


@pytest.mark.parametrize("batch", [(1,), (4,), (2, 3)], ids=str)
def test_rows_have_documents_of_their_own(rng, batch):
    """Any leading dimensions. With one row's boundaries for all, the others leak."""
    documents, slices = packed(rng, *batch)
    mask, positions = mask_of(documents), positions_of(documents)
    expect_equal(list(mask.shape), [*batch, 12, 12], what=f"the shape of document_mask for {[*batch, 12]}")
    expect_equal(list(positions.shape), [*batch, 12], what=f"the shape of document_positions for {[*batch, 12]}")
    rows = zip(documents.view(-1, 12), mask.reshape(-1, 12, 12), positions.reshape(-1, 12), slices, strict=True)
    for row, (labels, own_mask, own_positions, own_slices) in enumerate(rows):
        what = f"the mask of row {row} of batch {list(batch)}, beside that row alone"
        expect_mask(own_mask, mask_of(labels), what=what, hint="compare labels within a row: [..., n, n]")
        for own in own_slices:
            what = f"the positions of document {labels[own.start]} in row {row} of batch {list(batch)}"
            expect_equal(own_positions[own], torch.arange(own.stop - own.start), what=what, hint=RESTART)


def test_labels_are_names(rng):
    """Which numbers they are and in which order they come means nothing; neighbouring rows may use the same ones."""
    documents, _ = packed(rng, 3)
    for how, named in (("1000 added", documents + 1000), ("their order reversed", 11 - documents)):
        named = torch.where(documents < 0, documents, named)
        with called_for(f"labels with {how}"):
            found, positions = document_mask(named), document_positions(named)
        what = f"document_mask of labels with {how}"
        expect_mask(found, document_mask(documents), what=what, hint="compare labels for equality alone")
        real, want = documents >= 0, document_positions(documents)
        what = f"document_positions of labels with {how}"
        expect_equal(positions[real], want[real], what=what, hint="compare labels for equality alone")


def test_labels_are_left_alone_and_may_be_a_view(rng):
    """The next layer, and the loss, need them again."""
    documents, _ = packed(rng, 3)
    view = documents.repeat_interleave(2, -1)[:, ::2]
    with expect_unchanged(documents, view, what="documents"):
        want, found = document_mask(documents), document_mask(view)
        positions, of_view = document_positions(documents), document_positions(view)
    expect_mask(found, want, what="document_mask of a view with strides")
    real = documents >= 0
    expect_equal(of_view[real], positions[real], what="document_positions of a view with strides")


def test_each_result_is_a_tensor_of_its_own(rng):
    """Who changes a mask must not change what the next caller gets; and a size must not answer for another."""
    documents, _ = packed(rng)
    calls = {
        "causal_mask(4, 4)": lambda: causal_mask(4, 4),
        "window_mask(4, 4, 2)": lambda: window_mask(4, 4, 2),
        "document_mask": lambda: document_mask(documents),
        "document_positions": lambda: document_positions(documents),
    }
    for name, call in calls.items():
        first = call()
        want = first.clone()
        with called_for("a second time, after the first result was changed"):
            first.zero_()
            again = call()
        expect_equal(again, want, what=f"{name} after an earlier result was changed", hint="keep nothing between calls")


def test_wrong_windows_are_errors():
    """A window of 0 would leave a query nothing to see."""
    for window in (0, -3):
        with expect_raises(ValueError, what=f"window_mask(3, 3, window={window})", hint="window >= 1"):
            window_mask(3, 3, window)
    with expect_raises(ValueError, what="window_mask(3, 3, 2, sinks=-1)", hint="sinks >= 0"):
        window_mask(3, 3, 2, sinks=-1)


def test_more_queries_than_keys_are_an_error():
    """The first would stand before all keys."""
    for queries, keys in ((4, 3), (2, 1)):
        with expect_raises(ValueError, what=f"causal_mask({queries}, {keys})", hint="queries <= keys"):
            causal_mask(queries, keys)
        with expect_raises(ValueError, what=f"window_mask({queries}, {keys}, 2)", hint="queries <= keys"):
            window_mask(queries, keys, 2)


@pytest.mark.parametrize("function", [document_mask, document_positions], ids=lambda f: f.__name__)
def test_documents_that_come_back_are_errors(function):
    """Two documents that share a label would see each other. The same label in another row is no error."""
    hint = "each label from 0 on should be one run of tokens"
    for labels in ([1, 2, 1], [0, 1, 1, 0], [1, -1, 1], [5, 5, 3, 5], [[2, 2, 1], [2, 1, 2]]):
        with expect_raises(ValueError, what=f"{function.__name__}({labels})", hint=hint):
            function(torch.tensor(labels))
    with called_for("rows that use the same labels, and padding that comes back"):
        function(torch.tensor([[1, 2, 2, -1], [2, -1, 1, -1]]))
    with expect_raises(ValueError, what=f"{function.__name__}([0, -2])", hint="-1 is padding, no other number is"):
        function(torch.tensor([0, -2]))


def test_no_heads_are_an_error():
    """Neither slopes nor a bias."""
    for heads in (0, -4):
        with expect_raises(ValueError, what=f"alibi_slopes({heads})", hint="heads >= 1"):
            alibi_slopes(heads)
        with expect_raises(ValueError, what=f"alibi_bias({heads}, 2, 2)", hint="heads >= 1"):
            alibi_bias(heads, 2, 2)


def test_a_bias_for_more_queries_than_keys_is_an_error():
    """As for the masks."""
    with expect_raises(ValueError, what="alibi_bias(2, 4, 3)", hint="queries <= keys"):
        alibi_bias(2, 4, 3)


def test_a_wrong_window_is_an_error(rng):
    """As for the mask."""
    for window in (0, -2):
        with expect_raises(ValueError, what=f"window_attention(q, k, v, {window})", hint="window >= 1"):
            window_attention(*qkv(rng, 4, 2), window)
