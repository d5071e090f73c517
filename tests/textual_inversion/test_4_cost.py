"""Stage 4. Bytes, the optimizer's state, no loops."""

import torch

from dojo.testing import backward, expect, expect_flat_operators, expect_traffic, randn
from katas.textual_inversion import prior_preservation_loss

from .helpers import pictures, trained


def test_a_step_does_not_touch_the_whole_table(rng, cost):
    """CLIP's table is 152 MB, and a prompt needs 0.2 MB of it. Here a result is 1 / 256 of the table: one copy of the
    table, or one gradient of its size, is 512 times the result in traffic."""
    layer, ids = trained(rng, vocab=4096, dim=32), torch.tensor([[4096, 3, 9, 4095], [5, 4097, 4096, 0]] * 2)
    with cost() as spent:
        got = layer(ids)
        backward(got.sum(), what="the result")
    hint = "two small lookups; joining the tables in forward copies all rows, and its gradient has all rows too"
    what = "forward and backward for 16 ids with V = 4096"
    expect_traffic(spent, got, 64, what=what, of="the result (64x is a quarter of the table)", hint=hint)


def test_the_optimizer_keeps_state_for_the_new_rows_alone(rng):
    """AdamW holds two numbers for each that trains: 304 MB for CLIP's whole table, 6 kB for one row."""
    layer = trained(rng, vocab=512, dim=4)
    optimizer = torch.optim.AdamW([p for p in layer.parameters() if p.requires_grad])
    backward(layer(torch.tensor([512, 3])).sum(), what="the result")
    optimizer.step()
    held = sum(value.numel() for state in optimizer.state.values() for value in state.values())
    expect(held >= 16, f"AdamW should keep two moments of new, 16 numbers, but keeps {held}", hint="new must train")
    sentence = f"AdamW should keep two moments of new and a counter, 17 numbers, but keeps {held}"
    expect(held <= 17, sentence, hint="freeze base.weight; new is [count, dim]")


def test_no_loop_over_ids(rng):
    """A python loop launches operators for each id, and waits for the device to learn which it is."""
    layer = trained(rng, vocab=64, dim=32)
    expect_flat_operators(
        layer,
        lambda size: [(65 - torch.arange(size[0] * size[1]) % 66).view(size)],  # old and new ids at each size
        [(2, 4), (2, 64), (32, 4)],
        what="the lookup",
        hint="look all ids up at once in both tables, and select",
        slack=2,
    )


def test_no_loop_over_samples(rng):
    """One squared error for the whole batch, then two means."""
    expect_flat_operators(
        lambda prediction, target, weights: prior_preservation_loss(prediction, target, weights=weights),
        lambda samples: (*pictures(rng, samples, (4,)), randn(rng, samples)),
        [2, 16],
        what="the loss",
        hint="chunk the batch, or the samples' means, in two",
        slack=2,
    )
