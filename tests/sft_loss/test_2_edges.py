"""Stage 2. Prompts and padding in batches, EOS as padding, nothing to learn, num_items, several rows, wrong arguments."""

import pytest
import torch

from dojo.testing import called_for, expect, expect_close, expect_equal, expect_raises, expect_unchanged, numbers, randn
from katas.sft_loss import build_labels, causal_lm_loss

from .helpers import COUNTED, FIELDS, SHIFT, Toy, examples, expect_rows, labelled, masks, packed, table
from .probe import WRONG_LABELS, WRONG_LOSS, WRONG_PACK, WRONG_PROMPTS

DIVISOR = "the sum of the losses that count, divided by max(divisor, 1), where the divisor is their number or num_items"
NEXT_FIT = (
    "if an example does not fit into the newest row, it opens a row; it fits if it leaves 0 tokens of room or more"
)
UNDER = [-100, -1, 0, 7, 10**6]  # what padding may be


@pytest.mark.parametrize("number", UNDER)
@pytest.mark.parametrize("mask", [(1, 1, 1, 1, 0, 0), (0, 0, 1, 1, 1, 1), (0, 1, 1, 1, 1, 0)], ids=str)
def test_padding_on_either_side(mask, number):
    """The tokens 5, 6, 7, 8, of which two are the prompt. The prompt begins where the padding ends."""
    attended = masks(mask)
    tokens, labels = torch.full((2, 1, 6), number)
    tokens[attended], labels[:] = torch.tensor([5, 6, 7, 8]), -100
    labels[attended] = torch.tensor([-100, -100, 7, 8])
    what = f"build_labels of {tokens[0].tolist()} with the mask {list(mask)} and a prompt of 2"
    expect_equal(build_labels(tokens, attended, torch.tensor([2])), labels, what=what, hint=COUNTED)


@pytest.mark.parametrize("eos", [0, 1, 2, 9])
def test_an_eos_that_is_also_the_padding_is_learned(eos):
    """The padding token is EOS. The EOS that ends the answer counts, or the model never learns to stop; what is padding
    says the mask."""
    tokens = table((eos, 5, 6, eos, eos, eos), (eos, eos, eos, 5, 6, eos))
    mask = masks((1, 1, 1, 1, 0, 0), (0, 0, 1, 1, 1, 1))
    want = table((-100, -100, 6, eos, -100, -100), (-100, -100, -100, -100, 6, eos))
    got = build_labels(tokens, mask, torch.tensor([2, 2]))
    what = f"build_labels of {tokens.tolist()} with the mask {mask.int().tolist()} and prompts of 2"
    expect_equal(
        got, want, what=what, hint="the attention mask says what is padding; do not compare tokens with a number"
    )


def test_each_row_has_its_own_prompt():
    """Three rows with other prompts and paddings; a prompt may be empty, and an answer too."""
    tokens = table((3, 4, 5, 6, 7), (0, 4, 5, 6, 0), (0, 0, 5, 6, 7), (3, 4, 5, 0, 0), (9, 9, 9, 9, 9))
    mask = masks((1, 1, 1, 1, 1), (0, 1, 1, 1, 0), (0, 0, 1, 1, 1), (1, 1, 1, 0, 0), (0, 0, 0, 0, 0))
    want = table((3, 4, 5, 6, 7), (-100, -100, 5, 6, -100), (-100, -100, -100, -100, 7), (-100,) * 5, (-100,) * 5)
    with called_for("build_labels with prompts of 0, 1, 2, 3 and 0 tokens"):
        got = build_labels(tokens, mask, torch.tensor([0, 1, 2, 3, 0]))
    what = "build_labels with prompts of 0, 1, 2, 3 and 0 tokens, row by row"
    expect_equal(got.tolist(), want.tolist(), what=what, hint=COUNTED)
    expect_equal(got.dtype, torch.int64, what="the dtype of the labels")


def test_labels_are_a_tensor_of_their_own(rng):
    """masked_fill_ on the tokens would write -100 into the model's input."""
    tokens, mask = table((3, 4, 5, 6), (5, 6, 7, 8)), masks((1, 1, 1, 1), (1, 1, 1, 1))
    for prompts in (torch.tensor([1, 2]), torch.tensor([0, 0])):
        with expect_unchanged(tokens, mask, prompts, what="an argument of build_labels"):
            got = build_labels(tokens, mask, prompts)
        shares = got.untyped_storage().data_ptr() == tokens.untyped_storage().data_ptr()
        expect(not shares, "build_labels should return a tensor of its own, but it shares memory with the tokens")


def test_the_loss_is_a_mean_over_tokens(rng):
    """Rows of 1, 4 and 2 labels that count: each label weighs the same, not each row."""
    logits, labels = labelled(rng, 3, 6, 5)
    labels[0, :-1], labels[2, 3:5] = -100, -100
    counts = (labels[:, 1:] != -100).sum(1)
    losses = torch.stack([causal_lm_loss(logits[i : i + 1], labels[i : i + 1]) for i in range(3)])
    got, want = causal_lm_loss(logits, labels), (losses * counts).sum() / counts.sum()
    what = f"the loss of rows with {counts.tolist()} labels that count, against each row alone"
    expect_close(got, want, what=what, hint=DIVISOR)


@pytest.mark.parametrize("label", [0, 3, -100])
def test_nothing_predicts_label_0(rng, label):
    """Whatever the first label of a row is, it counts neither in the sum nor in the divisor. torch.roll would compare it
    with the last position."""
    logits, labels = labelled(rng, 2, 5, 4)
    labels[:, 0] = -100
    want = causal_lm_loss(logits, labels)
    labels[:, 0] = label
    expect_close(causal_lm_loss(logits, labels), want, what=f"the loss where the first label is {label}", hint=SHIFT)


def test_the_last_position_predicts_nothing(rng):
    """Its logits have no influence, nor have those before a label of -100."""
    logits, labels = labelled(rng, 2, 5, 4)
    labels[:, 3] = -100
    want, other = causal_lm_loss(logits, labels), logits.clone()
    other[:, [2, 4]] = 40 * randn(rng, 2, 2, 4)
    got = causal_lm_loss(other, labels)
    expect_close(
        got, want, what="the loss with other logits at the last position and before a label of -100", hint=SHIFT
    )


@pytest.mark.parametrize("items", [None, 5, 1, 0, torch.tensor(3), torch.tensor(0)], ids=str)
def test_where_nothing_counts_the_loss_is_zero(rng, items):
    """Prompts that fill their rows, or rows of length 1. A mean over nothing would be NaN, which ends the training."""
    logits, labels = labelled(rng, 2, 4, 3)
    labels[:, 1:] = -100
    for length in (4, 2, 1):
        what = f"the loss where nothing counts, with length {length} and num_items={items}"
        with called_for(what, hint=DIVISOR):
            got = causal_lm_loss(logits[:, :length], labels[:, :length], num_items=items)
        expect_close(got, numbers(0.0)[0], what=what, hint=DIVISOR)


@pytest.mark.parametrize("items", [1, 6, 40])
@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_num_items_is_the_divisor(rng, items, kind):
    """In place of the number of labels that count, 6 here."""
    logits, labels = labelled(rng, 2, 4, 5)
    labels[0, 1:], labels[1] = torch.tensor([1, 2, 3]), torch.tensor([-100, 4, 0, 1])
    want = causal_lm_loss(logits, labels) * 6 / items
    what = f"the loss of 6 labels with num_items={kind(items)!r}"
    with called_for(what):
        got = causal_lm_loss(logits, labels, num_items=kind(items))
    expect_close(got, want, what=what, hint="the sum over num_items: neither the mean over num_items nor the mean")


def test_the_loss_changes_no_argument(rng):
    """Labels of -100 that are replaced in place would count in the next epoch. Strided inputs give the same."""
    logits, labels = labelled(rng, 2, 5, 4)
    with expect_unchanged(logits, labels, what="an argument of causal_lm_loss"):
        want = causal_lm_loss(logits, labels)
    strided = torch.stack([logits, logits], -1)[..., 1]
    for _ in range(2):
        got = causal_lm_loss(strided.transpose(0, 1).contiguous().transpose(0, 1), labels.T.contiguous().T)
        expect_close(got, want, what="the loss of strided inputs")


@pytest.mark.parametrize(
    ("lengths", "most", "want"),
    [
        ((2, 3, 1, 4), 5, [[0, 1], [2, 3]]),
        ((3, 4, 2, 1), 5, [[0], [1], [2, 3]]),  # first fit: 2 goes into row 0; best fit: 1 goes into row 1
        ((3, 4, 5, 1), 5, [[0], [1], [2], [3]]),
        ((1, 2, 4, 1), 5, [[0, 1], [2, 3]]),
        ((3, 3, 3), 3, [[0], [1], [2]]),
        ((1, 1, 1, 1, 1), 2, [[0, 1], [2, 3], [4]]),
        ((2, 1, 3), 20, [[0, 1, 2]]),
        ((), 4, []),
    ],
    ids=str,
)
def test_which_example_goes_into_which_row(lengths, most, want):
    """Next fit: a row is closed once an example has not fitted."""
    tokens, labels = examples(*lengths)
    wanted = [[token for k in row for token in tokens[k].tolist()] for row in want]
    rows = packed(tokens, labels, most)
    what = f"the rows of examples of {list(lengths)} tokens with max_length={most}"
    expect_rows(rows, wanted, "tokens", what=what, hint=NEXT_FIT)


def test_each_row_begins_anew():
    """Examples of 2, 1, 3 and 1 tokens in rows of at most 4: segments and positions of the second row begin at 0."""
    rows, what = packed(*examples(2, 1, 3, 1), 4), "the rows of examples of 2, 1, 3 and 1 tokens with max_length=4"
    hint = "the number of the example in its row, from 0: not its number in the batch"
    expect_rows(rows, [[0, 0, 1], [0, 0, 0, 1]], "segments", what=what, hint=hint)
    expect_rows(rows, [[0, 1, 0], [0, 1, 2, 0]], "positions", what=what, hint="positions begin anew in each example")
    want = [[-100, 1011, -100], [-100, 1031, 1032, -100]]
    expect_rows(rows, want, "labels", what=what, hint="the first label of each example is -100, of the row's first too")


def test_labels_that_do_not_count_already():
    """-100 stays, and only the first label of each example is changed."""
    tokens, _ = examples(4, 3, 2)
    labels = list(table((-100, -100, 7, 8))) + list(table((-100, 5, -100))) + list(table((-100, -100)))
    want = [[-100, -100, 7, 8, -100, 5, -100, -100, -100]]
    expect_rows(packed(tokens, labels, 9), want, "labels", what="a row whose prompts are -100")


def test_pack_keeps_its_arguments():
    """The examples are packed again in the next epoch; a -100 written into their labels would stay. Rows are their own."""
    for lengths, most in (((3, 2), 5), ((4,), 4)):
        tokens, labels = examples(*lengths)
        with expect_unchanged(*tokens, *labels, what="an example that was given to pack"):
            every = tokens + labels
            rows = packed(tokens, labels, most)
        left = f"{len(tokens)} examples of tokens and {len(labels)} of labels"
        same = len(tokens) == len(labels) == len(lengths)
        expect(same, f"pack should leave its lists as they are, but of {len(lengths)} examples it leaves {left}")
        given = {each.untyped_storage().data_ptr() for each in every}
        for field in FIELDS:
            shares = any(getattr(row, field).untyped_storage().data_ptr() in given for row in rows)
            expect(not shares, f"{field} of a row should be a tensor of its own, but shares memory with an example")


def test_packed_examples_get_what_they_get_alone(rng):
    """A causal transformer that reads positions and keeps segments apart: logits as those of each example alone, and the
    loss of the row is the mean over all tokens of the examples. Changing a token of the first example changes nothing in
    the second."""
    model, (tokens, labels) = Toy(rng), examples(4, 3, 2, first=1)
    tokens, labels = [t % 7 for t in tokens], [example % 5 for example in labels]
    (row,) = packed(tokens, labels, 9)
    alone = [model(packed([t], [label], 9)[0]) for t, label in zip(tokens, labels, strict=True)]
    hint = "positions begin anew in each example, and segments tell one from the next"
    expect_close(model(row), torch.cat(alone), what="the logits of a packed row, against each example alone", hint=hint)
    losses = [causal_lm_loss(z[None], label[None]) * (len(label) - 1) for z, label in zip(alone, labels, strict=True)]
    got = causal_lm_loss(model(row)[None], row.labels[None])
    hint = "6 of 9 labels count, because nothing predicts the first one of an example"
    expect_close(got, torch.stack(losses).sum() / 6, what="the loss of the row, against each example alone", hint=hint)


@pytest.mark.parametrize("shapes", WRONG_LABELS, ids=str)
def test_labels_of_other_shapes_are_errors(shapes):
    """A mask or a prompt length of one row would be broadcast."""
    of_tokens, of_mask, of_prompts = shapes
    what = f"build_labels with tokens {of_tokens}, mask {of_mask} and prompts {of_prompts}"
    tokens, mask, prompts = (torch.ones(shape).long() for shape in shapes)
    with expect_raises(ValueError, what=what):
        build_labels(tokens, mask.bool(), prompts)


@pytest.mark.parametrize(("prompts", "lengths"), WRONG_PROMPTS, ids=str)
def test_prompts_that_are_not_in_their_row_are_errors(prompts, lengths):
    """A row that was truncated within its prompt has no answer, and should not pass for one with an empty answer."""
    mask = torch.arange(4) < torch.tensor(lengths)[:, None]
    with expect_raises(ValueError, what=f"build_labels with prompts of {prompts} in rows of {lengths} attended tokens"):
        build_labels(torch.ones(2, 4).long(), mask, torch.tensor(prompts))


@pytest.mark.parametrize("shape", WRONG_LOSS, ids=str)
def test_losses_of_other_shapes_are_errors(shape):
    """Flattened, labels [4, 2] are as many as the logits [2, 4, 3] need, and each is compared with another position."""
    with expect_raises(ValueError, what=f"causal_lm_loss with logits [2, 4, 3] and labels {shape}"):
        causal_lm_loss(torch.zeros(2, 4, 3), torch.ones(shape).long())


@pytest.mark.parametrize("items", [-1, -5])
def test_a_negative_number_of_items_is_an_error(items):
    """It would turn the loss round."""
    with expect_raises(ValueError, what=f"causal_lm_loss with num_items={items}"):
        causal_lm_loss(torch.zeros(1, 3, 2), torch.ones(1, 3).long(), num_items=items)


@pytest.mark.parametrize("name", WRONG_PACK)
def test_examples_that_cannot_be_packed_are_errors(name):
    """An example is neither cut nor dropped, and zip would leave out what has no partner."""
    lengths, of_labels, most = WRONG_PACK[name]
    tokens, labels = [torch.ones(n).long() for n in lengths], [torch.ones(n).long() for n in of_labels]
    what = f"pack of {name}: tokens of lengths {lengths}, labels of {of_labels}, max_length={most}"
    with expect_raises(ValueError, what=what):
        packed(tokens, labels, most)
