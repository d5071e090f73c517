"""Stage 4. The bytes of the state and of a step, no loop over elements."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_flat_operators, expect_traffic, randn
from dojo.testing.modules import bytes_held
from katas.adamw import AdamW

from .helpers import BOTH, advance, moments, random_weight


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_state_is_two_numbers_for_each_weight(rng, dtype):
    """8 bytes for each weight in float32 are most of what training needs. A copy of the weights or of the last gradient
    would be half as much again."""
    params = [random_weight(rng, *shape, dtype=dtype) for shape in ((20, 30), (500,))]
    optimizer = AdamW(params, **BOTH)
    for _ in range(2):
        advance(optimizer, *((param, randn(rng, *param.shape)) for param in params))
    moments(optimizer, params[0])
    wide = torch.promote_types(dtype, torch.float32)
    held = (bytes_held(optimizer) - sum(p.nbytes for p in params)) / (1100 * wide.itemsize)
    sentence = f"the optimizer should hold two {wide} numbers for each {dtype} weight, but holds {held:.2f}"
    expect(1.9 < held < 2.1, sentence, hint="m and v; nothing else of the weight's size is to be kept between steps")


def test_a_step_reads_and_writes_little(rng, cost):
    """The formula with a new tensor for each operator moves 34 to 46 numbers for each weight; in place it is about 21, and a fused
    kernel would need 7. The second step is counted, when the moments exist."""
    param = random_weight(rng, 40, 50, dtype=torch.float32)
    optimizer = AdamW([param], **BOTH)
    advance(optimizer, (param, randn(rng, 40, 50)))
    with cost() as spent:
        optimizer.step()
    hint = "m.lerp_(g, 1 - beta1), v.mul_(beta2).addcmul_(g, g, value=...), param.addcdiv_(m, root, value=...)"
    expect_traffic(spent, param, 33.2, what="a step", of="the parameters", hint=hint)


def test_no_loop_over_elements(rng):
    """Some ten operators for each parameter, however large it is."""

    def step(start, grad):
        param = nn.Parameter(start.clone())
        advance(AdamW([param], **BOTH), (param, grad))

    expect_flat_operators(
        step,
        lambda size: (randn(rng, *size), randn(rng, *size)),
        [(3, 4), (30, 4), (30, 40)],
        what="a step of a parameter",
        hint="operate on whole tensors",
    )
