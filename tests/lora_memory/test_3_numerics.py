"""Stage 3. Half precision, exact integers."""

from dataclasses import astuple

import torch

from dojo.testing import expect_equal
from katas.lora_memory import communication_bytes, full_finetune_bytes, lora_finetune_bytes

from .helpers import expect_budget, measured_full, measured_lora


def test_half_precision_halves_everything(rng):
    """Weights, gradients, Adam's moments and activations all in bfloat16, as torch.optim keeps them."""
    want = measured_full(rng, 24, 40, 5, torch.bfloat16, torch.optim.Adam)
    expect_budget(full_finetune_bytes(24, 40, 5, dtype_bytes=2), want, "a real bfloat16 layer")
    want = measured_lora(rng, 24, 40, 5, 3, torch.bfloat16, torch.optim.Adam)
    expect_budget(lora_finetune_bytes(24, 40, 5, 3, dtype_bytes=2), want, "a real bfloat16 adapter")
    hint = "gradients travel in dtype_bytes, too"
    expect_equal(communication_bytes(1000, 4, dtype_bytes=2), 3000.0, what="bytes sent in bfloat16", hint=hint)


def test_one_byte_numbers_are_fine():
    """8-bit formats exist: then bytes are numbers."""
    expect_budget(full_finetune_bytes(3, 5, 2, dtype_bytes=1), (15, 15, 30, 6), "a layer of one-byte numbers")
    expect_budget(lora_finetune_bytes(3, 5, 2, 1, dtype_bytes=1), (23, 8, 16, 8), "an adapter of one-byte numbers")
    expect_equal(communication_bytes(1000, 2, dtype_bytes=1), 1000.0, what="bytes sent for 1000 one-byte gradients")


def test_budgets_are_exact_integers():
    """Floats lose bytes above 2 ** 53, and a budget in bytes has no fractions."""
    for budget in (full_finetune_bytes(3, 5, 7), lora_finetune_bytes(3, 5, 7, 1)):
        expect_equal(
            [type(number) for number in astuple(budget)],
            [int] * 4,
            what="the fields' types",
            hint="whole numbers: no / and no float()",
        )
