"""Stage 4. Gradient accumulation, few passes over the logits, no loop over tokens."""

import pytest
import torch

from dojo.testing import backward, expect_close, expect_flat_operators, expect_traffic, randint
from katas.sft_loss import causal_lm_loss, pack

from .helpers import labelled

STEP = "num_items is the number of labels that count in all micro-batches; each divides its own sum by it"


@pytest.mark.parametrize("kind", [int, torch.tensor])
def test_micro_batches_add_up_to_one_batch(rng, kind):
    """6 rows with 0 to 5 labels that count, in micro-batches of 1, 3 and 2 rows, the first of which has none: losses and
    gradients add up to those of the whole batch. The mean of the three means would weigh tokens of short answers more."""
    logits, labels = labelled(rng, 6, 6, 5)
    labels = labels.where(torch.arange(6) > 5 - torch.arange(6)[:, None], -100)
    items = kind(int((labels[:, 1:] != -100).sum()))
    whole, parts = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    want = causal_lm_loss(whole, labels)
    splits = zip(parts.split([1, 3, 2]), labels.split([1, 3, 2]), strict=True)
    got = sum(causal_lm_loss(z, t, num_items=items) for z, t in splits)
    expect_close(got, want, what="the sum of the losses of micro-batches, against one batch", hint=STEP)
    backward(want, what="the loss of the batch")
    backward(got, what="the sum of the losses of micro-batches")
    what = "the gradient of the micro-batches' losses, against one batch"
    expect_close(parts.grad, whole.grad, what=what, hint=STEP)


def test_few_passes_over_the_logits(rng, cost):
    """8 rows of 2048 tokens over 128 256 classes are 8.4 GB in float32. One element of each position is needed, and one
    sum."""
    logits, labels = labelled(rng, 2, 17, 600, dtype=torch.float32)
    with cost() as spent:
        causal_lm_loss(logits, labels)
    hint = "gather, or cross_entropy, picks one element of each position, without a one-hot matrix"
    expect_traffic(spent, logits[:, 1:], 8.2, what="causal_lm_loss", of="the logits that predict a label", hint=hint)


def test_no_loop_over_tokens(rng):
    """A python loop over positions, or over the vocabulary, launches operators for each of them."""
    expect_flat_operators(
        causal_lm_loss,
        lambda size: labelled(rng, 2, *size),
        [(4, 10), (40, 10), (40, 40)],
        what="causal_lm_loss of [2, length, vocab]",
        hint="cross_entropy takes all positions at once",
        slack=3,
    )


def test_packing_does_not_loop_over_tokens(rng):
    """Three examples in two rows, short and long. A loop over the examples is what packing is."""

    def given(times):
        tokens = [randint(rng, 0, 100, n * times) for n in (3, 2, 4)]
        return tokens, [t.clone() for t in tokens], 6 * times

    expect_flat_operators(
        pack,
        given,
        [1, 5, 20],
        what="pack of three examples",
        hint="torch.cat, torch.arange and repeat_interleave handle an example at once",
        slack=3,
        outside_torch=True,  # lists of numbers are slower, and right
    )
