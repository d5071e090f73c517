"""Stage 1. The update, its start, what trains, merge and unmerge."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import backward, expect, expect_close, expect_equal, expect_unchanged
from dojo.testing.modules import expect_parameters
from katas.lora_linear import LoRALinear

from .helpers import ANSWER, MERGED, X, trained, vectors, worked_example


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_the_parameters_are_those_of_the_base_and_two_matrices(bias):
    """lora_A and lora_B are Parameters themselves, [rank, in] and [out, rank], and no layers with a bias of their own."""
    shapes = {"base.weight": [7, 5], "lora_A": [3, 5], "lora_B": [7, 3]} | ({"base.bias": [7]} if bias else {})
    hint = "self.base is the layer that was given; lora_A and lora_B are nn.Parameters, and nothing else is one"
    expect_parameters(
        LoRALinear(nn.Linear(5, 7, bias), 3, 1.0), shapes, what="LoRALinear(base, rank=3, alpha=1)", hint=hint
    )


def test_B_starts_at_zero_and_A_at_random():
    """Both zero never learn; both random change the pretrained model; with equal rows in A the rank stays 1.
    Memory that nobody has filled is NaN here, so that an A which was only allocated shows every time."""
    torch.set_deterministic_debug_mode("warn")  # torch.empty gives NaN
    try:
        layer, other = (LoRALinear(nn.Linear(5, 7), 3, 1.0) for _ in range(2))
    finally:
        torch.set_deterministic_debug_mode("default")
    A, B = layer.lora_A.detach(), layer.lora_B.detach()
    expect_close(B, torch.zeros(7, 3), what="lora_B at the start", hint="B [out, rank] is zero, A is not")
    expect_equal(list(A.shape), [3, 5], what="the shape of lora_A", hint="[rank, in]")
    expect(A.isfinite().all(), "lora_A should hold random numbers, but holds NaN", hint="torch.empty only allocates")
    hint = "draw A at random: zeros, or one constant everywhere, cannot learn rank directions"
    expect_equal(int(torch.linalg.matrix_rank(A)), 3, what="the rank of lora_A at the start", hint=hint)
    sentence = "two layers should draw different A, but got the same one"
    expect(not torch.equal(A, other.lora_A), sentence, hint="do not seed anything yourself")


@pytest.mark.parametrize("frozen_before", [False, True])
def test_only_A_and_B_train(frozen_before):
    """The optimizer takes what requires a gradient: nothing of the base, its bias included, and both factors.
    Some freeze the whole model before they wrap its layers: A and B must not inherit that."""
    layer = LoRALinear(nn.Linear(5, 7).requires_grad_(not frozen_before), 3, 1.0)
    names = sorted(name for name, parameter in layer.named_parameters() if parameter.requires_grad)
    hint = "freeze base.weight and base.bias; lora_A and lora_B are nn.Parameters"
    expect_equal(names, ["lora_A", "lora_B"], what="the list of trainable parameters", hint=hint)


def test_the_base_is_kept_not_copied():
    """A second copy of W doubles the memory that LoRA is there to save, and parts from layers that share W."""
    base = nn.Linear(5, 7)
    weight, bias = base.weight, base.bias
    with expect_unchanged(weight, bias, what="the pretrained weight and bias", hint="do not re-initialise the base"):
        layer = LoRALinear(base, 3, 1.0)
    expect(layer.base is base, "layer.base should be the very layer that was given, but is another", hint="no copy")
    kept = layer.base.weight is weight and layer.base.bias is bias
    expect(
        kept, "the base's own Parameters should stay, but were replaced", hint="requires_grad_(False) freezes in place"
    )


def test_the_update_is_alpha_over_rank_times_B_A_x():
    """A worked example, in the mode that a new layer is in: [11, 22, 33, 46] + 1.5 * [27, -2, 14, 0]."""
    hint = "base(x) + alpha / rank * B A x, with the true quotient alpha / rank"
    expect_close(worked_example()(X), ANSWER, what="layer([1, 2, 3])", hint=hint)


def test_a_new_layer_answers_as_its_base(rng):
    """Fine-tuning starts from the pretrained model, whatever alpha is: that is what B = 0 is for."""
    base, x = nn.Linear(5, 7), vectors(rng, 4, 5)
    want = F.linear(x, base.weight.detach().clone(), base.bias.detach().clone())
    hint = "B starts at zero, the base keeps its weight and bias, and only the update is scaled"
    expect_close(LoRALinear(base, 3, 1000.0)(x), want, what="the new layer's output", hint=hint)


def test_the_first_gradient_reaches_B_and_is_zero_for_A(rng):
    """dA carries a factor B = 0, dB a factor A != 0. The interviewer goes on: how can A ever learn, then?"""
    layer = LoRALinear(nn.Linear(5, 7), 3, 1.5)
    backward((layer(vectors(rng, 4, 5)) * vectors(rng, 4, 7)).sum())
    for name in ("lora_A", "lora_B"):
        missing = getattr(layer, name).grad is None
        expect(not missing, f"{name} should get a gradient, but its .grad is None", hint="is it detached, or frozen?")
    expect_equal(layer.lora_A.grad, torch.zeros(3, 5), what="dL/dA at the start", hint="B starts at zero")
    expect(layer.lora_B.grad.abs().max() > 0, "dL/dB should not be zero at the start, but is", hint="is A random?")


def test_three_steps_move_A_and_B_and_nothing_else(rng):
    """Step 1 moves B; from step 2 on A has a gradient, too. The pretrained numbers must survive to the last bit."""
    layer = LoRALinear(nn.Linear(5, 7), 3, 1.5)
    start = {name: getattr(layer, name).detach().clone() for name in ("lora_A", "lora_B")}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.05)
    x, target = vectors(rng, 4, 5), vectors(rng, 4, 7)
    with expect_unchanged(layer.base.weight, layer.base.bias, what="the base", hint="freeze its weight and its bias"):
        for _ in range(3):
            optimizer.zero_grad()
            backward((layer(x) - target).square().mean())
            optimizer.step()
    for name, value in start.items():
        stuck = torch.equal(getattr(layer, name), value)
        expect(
            not stuck, f"{name} should have moved after three steps, but has not", hint="is it a Parameter, undetached?"
        )


def test_merging_writes_the_update_into_the_base():
    """The worked example again: W + 1.5 * B A. The answer stays, and now the base alone gives it."""
    layer = worked_example()
    expect_equal(bool(layer.merged), False, what="merged at the start")
    layer.merge()
    expect_equal(bool(layer.merged), True, what="merged after merge()")
    expect_close(layer.base.weight, MERGED, what="base.weight after merge()", hint="W + alpha / rank * B A")
    hint = "a merged layer adds no branch: the weight has the update in it"
    expect_close(layer(X), ANSWER, what="layer([1, 2, 3]) after merge()", hint=hint)


def test_unmerging_takes_the_update_out_again(rng):
    """Up to rounding: the way back need not be bit-exact. Then the branch answers again, and trains."""
    layer, x = trained(rng), vectors(rng, 4, 5)
    weight, answer = layer.base.weight.detach().clone(), layer(x)
    layer.merge()
    layer.unmerge()
    expect_equal(bool(layer.merged), False, what="merged after unmerge()")
    hint = "unmerge() takes out exactly what merge() added"
    expect_close(layer.base.weight, weight, what="base.weight after merge() and unmerge()", hint=hint)
    expect_close(layer(x), answer, what="the output after merge() and unmerge()", hint="the branch is added again")
