"""Stage 3. Training under AdamW and SGD, dtypes, gradients, large errors."""

import copy

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, HALVES, backward, expect, expect_close, expect_equal, expect_gradients, randn
from dojo.testing.modules import fill
from katas.textual_inversion import LearnedTokens, prior_preservation_loss

from .helpers import NEW, OLD, pictures, rows_of, table, trained

OPTIMIZERS = {
    "AdamW with decay": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
    "SGD with momentum and decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """New rows, results, gradients and the merged table are in the base's dtype. Whole numbers: nothing rounds."""
    layer = LearnedTokens(nn.Embedding.from_pretrained(OLD.to(dtype)), 2, 3)
    hint = "create new with the dtype of base.weight"
    expect_equal(layer.new.detach(), OLD[[3, 3]].to(dtype), what=f"new, of a base in {dtype}", hint=hint)
    fill(layer.new, NEW)
    got = layer(torch.tensor([1, 5, 4, 5]))
    want = torch.stack([OLD[1], NEW[1], NEW[0], NEW[1]]).to(dtype)
    expect_equal(got.detach(), want, what=f"layer([1, 5, 4, 5]) in {dtype}", hint="no conversion on the way")
    backward(got.sum(), what="the result")
    want = torch.tensor([[1.0, 1.0], [2.0, 2.0]], dtype=dtype)
    expect_close(layer.new.grad, want, what=f"the gradient of new in {dtype}", hint="no conversion on the way")
    want = torch.cat([OLD, NEW]).to(dtype)
    expect_equal(layer.merged().weight.detach(), want, what=f"merged().weight in {dtype}", hint="keep the dtype")


def test_the_new_rows_follow_the_base_to_another_device_or_dtype(rng):
    """A model may be built on another device (here 'meta'), or converted after it was wrapped."""
    layer = LearnedTokens(nn.Embedding.from_pretrained(torch.empty(7, 3, device="meta")), 2, 1)
    devices, hint = (layer.new.device.type, layer.merged().weight.device.type), "create both where base.weight is"
    expect_equal(devices, ("meta", "meta"), what="the devices of new and merged() of a base on 'meta'", hint=hint)
    layer = trained(rng).double()
    want = torch.stack(rows_of(layer))
    expect_equal(want.dtype, torch.float64, what="the dtype of new after layer.double()", hint="nn.Parameter")
    expect_equal(layer(torch.arange(9)).detach(), want, what="the rows after layer.double()", hint="keep no dtype")


def test_a_copy_of_the_layer_is_a_layer_of_its_own(rng):
    """An average of the weights (EMA) is kept in a deep copy."""
    layer, ids = trained(rng), torch.arange(9)
    other, want = copy.deepcopy(layer), layer(ids).detach().clone()
    fill(other.new, 0.0)
    expect_equal(layer(ids).detach(), want, what="the rows after a copy's new rows changed", hint="read self.new")
    got = other(ids)[7:].detach()
    expect_equal(got, torch.zeros(2, 3), what="the copy's new rows after they were zeroed", hint="read self.new")


def test_a_gradient_at_old_ids_does_not_reach_the_new_rows(rng):
    """One infinite gradient in a batch of float16 is no rarity: where the word does not stand, it is not the word's."""
    layer, slope = trained(rng), torch.ones(4, 3)
    slope[[0, 2]] = torch.tensor([[float("nan")], [float("inf")]])
    got = layer(torch.tensor([2, 7, 0, 7]))
    expect(got.requires_grad, "the result should have a graph, but has none", hint="no detach()")
    got.backward(slope)
    hint = "select with torch.where or an index; a product of a gradient with a mask of zeros lets NaN through"
    want = torch.tensor([[2.0], [0.0]]).expand(2, 3)
    expect_close(layer.new.grad, want, what="the gradient of new, beside NaN and infinity at old ids", hint=hint)


def test_the_loss_has_the_gradient_of_its_formula(rng):
    """By the prediction, with weights and without."""
    prediction, target = pictures(rng, 4, (2,))
    weights = torch.tensor([1.0, 3.0, 0.5, 2.0], dtype=torch.float64)
    for given in (None, weights):
        expect_gradients(
            lambda p, given=given: prior_preservation_loss(p, target, prior_weight=0.7, weights=given),
            [prediction],
            what="the loss" if given is None else "the weighted loss",
        )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_loss_is_returned_in_float32_at_least(rng, dtype):
    """Computed there, too: bfloat16 has 8 bits, and a mean of a million elements needs more."""
    prediction, target = pictures(rng, 4, (600,), dtype)
    exact = prior_preservation_loss(prediction.double(), target.double(), prior_weight=0.5)
    want = exact.to(torch.promote_types(dtype, torch.float32))
    hint = "convert prediction and target to float32 (float64 stays) before the difference"
    what = f"the loss of predictions in {dtype}"
    expect_close(prior_preservation_loss(prediction, target, prior_weight=0.5), want, what=what, hint=hint)
    weights = torch.tensor([1.0, 2.0, 0.3, 0.7]).to(dtype)
    exact = prior_preservation_loss(prediction.double(), target.double(), weights=weights.double())
    want = exact.to(torch.promote_types(dtype, torch.float32))
    got = prior_preservation_loss(prediction, target, weights=weights)
    expect_close(got, want, what=f"the loss of predictions and weights in {dtype}", hint=hint)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_prediction_target_and_weights_may_differ_in_dtype(rng, dtype):
    """The U-Net answers in half precision, the noise is in float32, and so are the weights."""
    prediction, target = pictures(rng, 4, (5,), dtype)[0], randn(rng, 4, 5, dtype=torch.float32)
    weights = torch.tensor([0.1, 0.3, 0.7, 2.1])
    exact = prior_preservation_loss(prediction.double(), target.double(), weights=weights.double())
    got, hint = prior_preservation_loss(prediction, target, weights=weights), "convert both to one dtype, the wider"
    what = f"the loss of a prediction in {dtype} and the rest in float32"
    expect_close(got, exact.float(), what=what, hint=hint)
    got = prior_preservation_loss(prediction.double(), target, weights=weights)
    expect_close(got, exact, what="the loss of a prediction in float64 and the rest in float32", hint=hint)
    hint = "the loss is in float32, or in float64 where the prediction has it, whatever the rest has"
    got = prior_preservation_loss(prediction, target.double(), weights=weights)
    expect_close(got, exact.float(), what=f"the loss of a prediction in {dtype} and a target in float64", hint=hint)
    got = prior_preservation_loss(prediction, target, weights=weights.double())
    expect_close(got, exact.float(), what=f"the loss of a prediction in {dtype} and weights in float64", hint=hint)


@pytest.mark.parametrize(("size", "dtype"), [(300.0, torch.float16), (60000.0, torch.float16), (1e18, torch.bfloat16)])
def test_large_errors_do_not_overflow(size, dtype):
    """float16 ends at 65504: 300 squared is beyond it, and so is 60000 - (-60000)."""
    prediction = torch.full((2, 3), size, dtype=dtype)
    want = 2 * (2 * prediction[0, 0].double()).square().float()
    got, hint = prior_preservation_loss(prediction, -prediction), "convert before subtracting, not after squaring"
    expect_close(got, want, what=f"the loss of {size:g} against {-size:g} in {dtype}", hint=hint)


@pytest.mark.parametrize("place", [0, 3])
def test_a_nan_in_either_half_reaches_the_loss(rng, place):
    """A loop that skips broken steps looks at the loss: a NaN that is hidden there is trained on."""
    prediction, target = pictures(rng, 4)
    prediction[place, 1, 0] = float("nan")
    got = prior_preservation_loss(prediction, target).isnan().item()
    expect_equal(got, True, what=f"whether the loss is NaN, with a NaN in sample {place} of 4", hint="no nan_to_num")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_leaves_every_other_word_as_it_was(rng, name, dtype):
    """20 steps. A gradient of zero is still an update: decay shrinks the row, and momentum remembers.
    The new rows must learn meanwhile."""
    base = table(rng, dtype=dtype)
    before = base.weight.detach().clone()
    layer = LearnedTokens(base, 2, 3)
    start, target = layer.new.detach().clone(), randn(rng, 4, 3, dtype=dtype)
    optimizer = OPTIMIZERS[name]([p for p in layer.parameters() if p.requires_grad])
    for _ in range(20):
        optimizer.zero_grad()
        backward((layer(torch.tensor([7, 3, 0, 8])) - target).square().sum(), what="the result")
        optimizer.step()
    hint = "the base's rows must not be the optimizer's: a table of its own for the new rows"
    expect_equal(base.weight.detach(), before, what=f"the base's table after 20 steps of {name}", hint=hint)
    got = layer(torch.arange(7)).detach()
    expect_equal(got, before, what=f"the rows of old ids after 20 steps of {name}", hint=hint)
    for row in range(2):
        moved = not torch.equal(layer.new[row], start[row])
        expect(moved, f"new[{row}] should learn, but is as it was after 20 steps of {name}", hint="is it detached?")
