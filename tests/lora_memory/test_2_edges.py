"""Stage 2. Optimizers, sizes, wrong values."""

import pytest
import torch

from dojo.testing import expect, expect_equal, expect_raises, randn
from katas.lora_memory import communication_bytes, full_finetune_bytes, lora_finetune_bytes

from .helpers import expect_budget, measured_full, measured_lora, nbytes


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def plain_sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


@pytest.mark.parametrize(("make_optimizer", "states"), [(plain_sgd, 0), (momentum, 1), (torch.optim.AdamW, 2)])
def test_the_optimizer_decides_about_its_state(rng, make_optimizer, states):
    """SGD keeps nothing, momentum one number a parameter, Adam two."""
    for batch in (1, 6):
        want = measured_full(rng, 12, 10, batch, torch.float32, make_optimizer)
        expect_budget(
            full_finetune_bytes(12, 10, batch, optimizer_states=states), want, f"a layer with {states} states"
        )
        want = measured_lora(rng, 12, 10, batch, 2, torch.float32, make_optimizer)
        budget = lora_finetune_bytes(12, 10, batch, 2, optimizer_states=states)
        expect_budget(budget, want, f"an adapter with {states} states")


@pytest.mark.parametrize("sizes", [(1, 9, 4, 1), (9, 1, 4, 1), (6, 6, 1, 6), (5, 8, 3, 11)], ids=str)
def test_awkward_sizes_count_as_real_ones_do(rng, sizes):
    """in != out, one feature, and a rank with which LoRA trains more than W has: a waste, but no error."""
    inside, outside, batch, rank = sizes
    want = measured_lora(rng, inside, outside, batch, rank, torch.float64, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(*sizes, dtype_bytes=8), want, f"an adapter with sizes {sizes}")


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
def test_a_ring_really_sends_that_much(rng, workers):
    """An all-reduce, played through: worker 0's messages are counted, and in the end all hold the sum."""
    data = [list(randn(rng, 7 * workers, dtype=torch.float32).chunk(workers)) for _ in range(workers)]
    total, sent = sum(torch.cat(chunks) for chunks in data), 0
    for step in range(2 * (workers - 1)):
        moving = [data[w][(w - step) % workers].clone() for w in range(workers)]
        sent += nbytes(moving[:1])
        for w, chunk in enumerate(moving):
            mine = data[(w + 1) % workers]
            adding = step < workers - 1  # then the finished chunks go round
            mine[(w - step) % workers] = mine[(w - step) % workers] + chunk if adding else chunk
    torch.testing.assert_close(torch.cat(data[-1]), total)
    got = communication_bytes(7 * workers, workers)
    expect_equal(got, float(sent), what=f"bytes sent by one of {workers} workers", hint="a ring's 2 (n - 1) messages")


def test_chunks_need_not_come_out_even():
    """10 numbers over 3 workers: 4 / 3 of 40 bytes. Integer division would make that 40."""
    got = float(communication_bytes(10, 3))
    hint = "a mean over chunks of 3 and 4 numbers: rounded neither down (//) nor up"
    expect(abs(got - 160 / 3) < 1e-9, f"10 gradients over 3 workers should cost 53.33 bytes, but {got}", hint=hint)
    expect_equal(communication_bytes(0, 3), 0.0, what="bytes when nothing is trained", hint="0 parameters are fine")


@pytest.mark.parametrize("wrong", [0, -1])
def test_sizes_below_one_are_errors(wrong):
    """A size of 0 is a misread config; the error should come before the cluster is booked."""
    for position, name in enumerate(("in_features", "out_features", "batch", "rank")):
        sizes = [4, 5, 6, 2]
        sizes[position] = wrong
        with expect_raises(ValueError, what=f"lora_finetune_bytes with {name}={wrong}"):
            lora_finetune_bytes(*sizes)
        if name != "rank":
            with expect_raises(ValueError, what=f"full_finetune_bytes with {name}={wrong}"):
                full_finetune_bytes(*sizes[:3])
    with expect_raises(ValueError, what=f"communication_bytes with workers={wrong}"):
        communication_bytes(10, wrong)
    for call in (
        full_finetune_bytes,
        lambda *a, **k: lora_finetune_bytes(*a, 2, **k),
        lambda *a, **k: communication_bytes(*a[:2], **k),
    ):
        with expect_raises(ValueError, what=f"dtype_bytes={wrong}"):
            call(4, 5, 6, dtype_bytes=wrong)


def test_negative_counts_are_errors():
    """0 is allowed here: SGD keeps no state, and a frozen model trains nothing."""
    with expect_raises(ValueError, what="full_finetune_bytes with optimizer_states=-1"):
        full_finetune_bytes(4, 5, 6, optimizer_states=-1)
    with expect_raises(ValueError, what="lora_finetune_bytes with optimizer_states=-1"):
        lora_finetune_bytes(4, 5, 6, 2, optimizer_states=-1)
    with expect_raises(ValueError, what="communication_bytes with trainable_parameters=-1"):
        communication_bytes(-1, 2)
