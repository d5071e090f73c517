"""Stage 4. A layer too large to build."""

from dojo.testing import expect_equal
from katas.lora_memory import communication_bytes, full_finetune_bytes, lora_finetune_bytes


def test_a_layer_need_not_be_built_to_be_counted():
    """A million squared at 4 bytes is 4 TB: sizes are arithmetic, not an allocation."""
    million = 10**6
    expect_equal(full_finetune_bytes(million, million, 1).total, 16 * 10**12 + 4 * 10**6, what="the full total")
    lora = lora_finetune_bytes(million, million, 1, 8)
    expect_equal(lora.total, 4 * 10**12 + 4 * 4 * 16 * 10**6 + 4 * 10**6 + 32, what="LoRA's total", hint="W once")
    expect_equal(communication_bytes(million**2, 2), 4.0 * 10**12, what="bytes sent for all of it by one of two")
