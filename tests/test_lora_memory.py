"""The bytes of real layers, counted, against the formulas."""

from dataclasses import astuple

import pytest
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import linear

from dojo.testing import expect, expect_equal, expect_raises, randn
from katas.lora_memory import communication_bytes, full_finetune_bytes, lora_finetune_bytes

FIELDS = ("weights", "gradients", "optimizer", "activations")
HINTS = {
    "weights": "every parameter is in memory: W, and with LoRA A and B as well",
    "gradients": "one number for each trainable parameter; a frozen W has none",
    "optimizer": "optimizer_states numbers for each trainable parameter, of dtype_bytes each; a frozen W has none",
    "activations": "x is kept for dL/dW or dL/dA, and x A^T for dL/dB; no output is",
}


def expect_budget(budget, expected, what):
    for field, want in zip(FIELDS, expected, strict=True):
        expect_equal(getattr(budget, field), want, what=f"the {field} of {what}", hint=HINTS[field])


def nbytes(tensors):
    return sum(t.numel() * t.element_size() for t in tensors)


def measured(x, forward, frozen, trainable, make_optimizer):
    """What a training step really holds: (weights, gradients, optimizer, activations), in bytes."""
    known = {p.data_ptr() for p in (*frozen, *trainable)}
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in known:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(pack, lambda tensor: tensor):
        y = forward(x)
    activations = nbytes(kept.values())
    y.sum().backward()
    optimizer = make_optimizer(trainable)
    optimizer.step()
    states = [s for state in optimizer.state.values() for s in state.values() if torch.is_tensor(s) and s.dim()]
    grads = [p.grad for p in (*frozen, *trainable) if p.grad is not None]
    return nbytes([*frozen, *trainable]), nbytes(grads), nbytes(states), activations


def measured_full(rng, inside, outside, batch, dtype, make_optimizer):
    w = nn.Parameter(randn(rng, outside, inside, dtype=dtype))
    x = randn(rng, batch, inside, dtype=dtype).requires_grad_()
    return measured(x, lambda x: linear(x, w), [], [w], make_optimizer)


def measured_lora(rng, inside, outside, batch, rank, dtype, make_optimizer):
    w = nn.Parameter(randn(rng, outside, inside, dtype=dtype), requires_grad=False)
    a, b = nn.Parameter(randn(rng, rank, inside, dtype=dtype)), nn.Parameter(randn(rng, outside, rank, dtype=dtype))
    x = randn(rng, batch, inside, dtype=dtype).requires_grad_()
    return measured(x, lambda x: linear(x, w) + linear(linear(x, a), b) * 0.5, [w], [a, b], make_optimizer)


def momentum(parameters):
    return torch.optim.SGD(parameters, lr=0.1, momentum=0.9)


def plain_sgd(parameters):
    return torch.optim.SGD(parameters, lr=0.1)


# Stage 1: worked numbers and a real layer


@pytest.mark.stage(1)
def test_full_fine_tuning_takes_four_times_the_weights():
    """W, its gradient and Adam's two moments: 16 bytes a parameter in float32, before any activation."""
    expect_budget(full_finetune_bytes(3, 5, 2), (60, 60, 120, 24), "a 3 -> 5 layer, 2 rows")


@pytest.mark.stage(1)
def test_lora_trains_only_its_two_small_matrices():
    """Rank 2 beside 30 x 50: 160 trainable numbers in place of 1500, and 1660 numbers of weights."""
    expect_budget(lora_finetune_bytes(30, 50, 7, 2), (6640, 640, 1280, 896), "a 30 -> 50 layer, 7 rows, rank 2")


@pytest.mark.stage(1)
def test_full_fine_tuning_is_what_a_real_layer_takes(rng):
    """Counted on a layer: saved-tensor hooks for the activations, Adam's state without its step counter."""
    want = measured_full(rng, 24, 40, 5, torch.float32, torch.optim.Adam)
    expect_budget(full_finetune_bytes(24, 40, 5), want, "a real 24 -> 40 layer, 5 rows")


@pytest.mark.stage(1)
def test_lora_is_what_a_real_adapter_takes(rng):
    """The frozen base keeps no x of its own: the adapter's A does, and B keeps rank numbers a row."""
    want = measured_lora(rng, 24, 40, 5, 3, torch.float32, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(24, 40, 5, 3), want, "a real adapter, 24 -> 40, 5 rows, rank 3")


@pytest.mark.stage(1)
def test_lora_saves_training_state_but_no_weights_and_no_activations():
    """The answer in one line: 4096 x 4096 at rank 16 has 128 times less gradient and optimizer state, nothing else."""
    full, lora = full_finetune_bytes(4096, 4096, 64), lora_finetune_bytes(4096, 4096, 64, 16)
    for field in ("gradients", "optimizer"):
        expect_equal(
            getattr(full, field), 128 * getattr(lora, field), what=f"128 times LoRA's {field}", hint=HINTS[field]
        )
    more = lora.weights - full.weights
    expect_equal(more, lora.gradients, what="LoRA's additional weights", hint="W stays in memory beside A and B")
    more = lora.activations - full.activations
    expect_equal(more, 64 * 16 * 4, what="LoRA's additional activations", hint="rank numbers a row")


@pytest.mark.stage(1)
@pytest.mark.parametrize(("workers", "want"), [(2, 4000.0), (4, 6000.0), (8, 7000.0), (1000, 7992.0)])
def test_each_worker_sends_nearly_twice_its_gradients(workers, want):
    """1000 float32 gradients, 4000 bytes: 2 (n - 1) / n of that, however many workers there are never more than twice."""
    hint = "2 (n - 1) steps, each with 1 / n of the gradients; what one worker sends, not all of them together"
    expect_equal(communication_bytes(1000, workers), want, what=f"bytes sent with {workers} workers", hint=hint)


# Stage 2: optimizers, sizes, wrong values


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize("sizes", [(1, 9, 4, 1), (9, 1, 4, 1), (6, 6, 1, 6), (5, 8, 3, 11)], ids=str)
def test_awkward_sizes_count_as_real_ones_do(rng, sizes):
    """in != out, one feature, and a rank with which LoRA trains more than W has: a waste, but no error."""
    inside, outside, batch, rank = sizes
    want = measured_lora(rng, inside, outside, batch, rank, torch.float64, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(*sizes, dtype_bytes=8), want, f"an adapter with sizes {sizes}")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_chunks_need_not_come_out_even():
    """10 numbers over 3 workers: 4 / 3 of 40 bytes. Integer division would make that 40."""
    got = float(communication_bytes(10, 3))
    hint = "a mean over chunks of 3 and 4 numbers: rounded neither down (//) nor up"
    expect(abs(got - 160 / 3) < 1e-9, f"10 gradients over 3 workers should cost 53.33 bytes, but {got}", hint=hint)
    expect_equal(communication_bytes(0, 3), 0.0, what="bytes when nothing is trained", hint="0 parameters are fine")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_negative_counts_are_errors():
    """0 is allowed here: SGD keeps no state, and a frozen model trains nothing."""
    with expect_raises(ValueError, what="full_finetune_bytes with optimizer_states=-1"):
        full_finetune_bytes(4, 5, 6, optimizer_states=-1)
    with expect_raises(ValueError, what="lora_finetune_bytes with optimizer_states=-1"):
        lora_finetune_bytes(4, 5, 6, 2, optimizer_states=-1)
    with expect_raises(ValueError, what="communication_bytes with trainable_parameters=-1"):
        communication_bytes(-1, 2)


# Stage 3: half precision, exact integers


@pytest.mark.stage(3)
def test_half_precision_halves_everything(rng):
    """Weights, gradients, Adam's moments and activations all in bfloat16, as torch.optim keeps them."""
    want = measured_full(rng, 24, 40, 5, torch.bfloat16, torch.optim.Adam)
    expect_budget(full_finetune_bytes(24, 40, 5, dtype_bytes=2), want, "a real bfloat16 layer")
    want = measured_lora(rng, 24, 40, 5, 3, torch.bfloat16, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(24, 40, 5, 3, dtype_bytes=2), want, "a real bfloat16 adapter")
    hint = "gradients travel in dtype_bytes, too"
    expect_equal(communication_bytes(1000, 4, dtype_bytes=2), 3000.0, what="bytes sent in bfloat16", hint=hint)


@pytest.mark.stage(3)
def test_one_byte_numbers_are_fine():
    """8-bit formats exist: then bytes are numbers."""
    expect_budget(full_finetune_bytes(3, 5, 2, dtype_bytes=1), (15, 15, 30, 6), "a layer of one-byte numbers")
    expect_budget(lora_finetune_bytes(3, 5, 2, 1, dtype_bytes=1), (23, 8, 16, 8), "an adapter of one-byte numbers")
    expect_equal(communication_bytes(1000, 2, dtype_bytes=1), 1000.0, what="bytes sent for 1000 one-byte gradients")


@pytest.mark.stage(3)
def test_budgets_are_exact_integers():
    """Floats lose bytes above 2 ** 53, and a budget in bytes has no fractions."""
    for budget in (full_finetune_bytes(3, 5, 7), lora_finetune_bytes(3, 5, 7, 1)):
        expect_equal(
            [type(number) for number in astuple(budget)],
            [int] * 4,
            what="the fields' types",
            hint="whole numbers: no / and no float()",
        )


# Stage 4: a layer too large to build


@pytest.mark.stage(4)
def test_a_layer_need_not_be_built_to_be_counted():
    """A million squared at 4 bytes is 4 TB: sizes are arithmetic, not an allocation."""
    million = 10**6
    expect_equal(full_finetune_bytes(million, million, 1).total, 16 * 10**12 + 4 * 10**6, what="the full total")
    lora = lora_finetune_bytes(million, million, 1, 8)
    expect_equal(lora.total, 4 * 10**12 + 4 * 4 * 16 * 10**6 + 4 * 10**6 + 32, what="LoRA's total", hint="W once")
    expect_equal(communication_bytes(million**2, 2), 4.0 * 10**12, what="bytes sent for all of it by one of two")
