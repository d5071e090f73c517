"""Stage 1. Worked numbers and a real layer."""

import pytest
import torch

from dojo.testing import expect_equal
from katas.lora_memory import communication_bytes, full_finetune_bytes, lora_finetune_bytes

from .helpers import HINTS, expect_budget, measured_full, measured_lora


def test_full_fine_tuning_takes_four_times_the_weights():
    """W, its gradient and Adam's two moments: 16 bytes a parameter in float32, before any activation."""
    expect_budget(full_finetune_bytes(3, 5, 2), (60, 60, 120, 24), "a 3 -> 5 layer, 2 rows")


def test_lora_trains_only_its_two_small_matrices():
    """Rank 2 beside 30 x 50: 160 trainable numbers in place of 1500, and 1660 numbers of weights."""
    expect_budget(lora_finetune_bytes(30, 50, 7, 2), (6640, 640, 1280, 896), "a 30 -> 50 layer, 7 rows, rank 2")


def test_full_fine_tuning_is_what_a_real_layer_takes(rng):
    """Counted on a layer: saved-tensor hooks for the activations, Adam's state without its step counter."""
    want = measured_full(rng, 24, 40, 5, torch.float32, torch.optim.Adam)
    expect_budget(full_finetune_bytes(24, 40, 5), want, "a real 24 -> 40 layer, 5 rows")


def test_lora_is_what_a_real_adapter_takes(rng):
    """The frozen base keeps no x of its own: the adapter's A does, and B keeps rank numbers a row."""
    want = measured_lora(rng, 24, 40, 5, 3, torch.float32, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(24, 40, 5, 3), want, "a real adapter, 24 -> 40, 5 rows, rank 3")


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


@pytest.mark.parametrize(("workers", "want"), [(2, 4000.0), (4, 6000.0), (8, 7000.0), (1000, 7992.0)])
def test_each_worker_sends_nearly_twice_its_gradients(workers, want):
    """1000 float32 gradients, 4000 bytes: 2 (n - 1) / n of that, however many workers there are never more than twice."""
    hint = "2 (n - 1) steps, each with 1 / n of the gradients; what one worker sends, not all of them together"
    expect_equal(communication_bytes(1000, workers), want, what=f"bytes sent with {workers} workers", hint=hint)
