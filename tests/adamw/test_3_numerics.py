"""Stage 3. eps, scales of the gradient, every floating dtype, no graph."""

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, HALVES, called_for, expect, expect_close, expect_equal, numbers, randn, roundings
from katas.adamw import AdamW

from .helpers import BOTH, DOUBLE, PLAIN, advance, copied, moments, random_weight, walk, weight

WIDE = "grad.float(), moments and a copy of the weight in float32, and one copy_ back"
SINGLE = torch.float32
SCALES = [(torch.float16, 2.0**-13), (torch.float16, 2.0**-24), (torch.float16, 2.0**14)]
SCALES += [(dtype, scale) for dtype in (torch.bfloat16, SINGLE) for scale in (1e-15, 1e15)]


@pytest.mark.parametrize("dtype", [SINGLE, torch.float64], ids=str)
def test_a_gradient_as_small_as_eps_makes_half_a_step(dtype):
    """The default eps is 1e-8: g / (|g| + eps) is 1/2, at each step of a constant gradient."""
    param, grad = weight(0, 0, dtype=dtype), numbers(1e-8, -1e-8, dtype=dtype)
    want = 0.0625 * numbers(-1, 1, dtype=dtype).expand(3, 2)
    got = walk(param, [grad] * 3, lr=0.125, weight_decay=0.0).diff(dim=0)
    expect_close(got, want, what="3 steps with gradients of 1e-8 and lr=0.125", hint="eps beside the corrected root")


@pytest.mark.parametrize(("dtype", "scale"), SCALES, ids=str)
def test_the_first_step_is_lr_at_every_scale(dtype, scale):
    """g^2 of a float16 gradient is 0 below 2^-12 and infinite above 256: it is squared in float32."""
    grad = scale * numbers(1, -2, 1, -3).to(dtype)
    with called_for(f"gradients of {scale:g} in {dtype}"):
        got = walk(weight(4, 4, -4, -4, dtype=dtype), [grad], **PLAIN)[-1]
    what = f"the weights 4, 4, -4, -4 after a step with gradients of {scale:g} in {dtype}"
    expect_close(got, numbers(3.875, 4.125, -4.125, -3.875, dtype=dtype), what=what, hint=WIDE)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_gradients_of_zero_move_nothing(dtype):
    """0 / (0 + eps) is 0, with the default eps of 1e-8. In float16 that eps is 0, and 0 / 0 is NaN."""
    got = walk(weight(4, -2, dtype=dtype), [numbers(0, 0)] * 2, lr=0.125, weight_decay=0.0)[-1]
    hint = "eps is added in float32"
    expect_equal(got, numbers(4, -2, dtype=dtype), what=f"weights with gradients of 0 in {dtype}", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_parameters_keep_their_dtype_and_moments_are_wide(rng, dtype):
    """Moments in bfloat16 would stand still: v * 0.999 rounds to v."""
    param = random_weight(rng, 3, dtype=dtype)
    optimizer = AdamW([param], **BOTH)
    for _ in range(2):
        advance(optimizer, (param, randn(rng, 3)))
    expect_equal(param.dtype, dtype, what="the dtype of the parameter after two steps")
    wide = torch.promote_types(dtype, SINGLE)
    for each in moments(optimizer, param):
        expect_equal(each.dtype, wide, what=f"the dtype of a moment of a {dtype} parameter", hint=WIDE)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_walk_is_the_same_in_every_dtype(rng, dtype):
    """Five steps, against float64 on the same numbers. A weight is rounded once a step."""
    start, grads = randn(rng, 3, 4).to(dtype), randn(rng, 5, 3, 4).to(dtype)
    want = walk(nn.Parameter(start.to(DOUBLE, copy=True)), grads.to(DOUBLE), **BOTH)[-1]
    got = walk(nn.Parameter(start.clone()), grads, **BOTH)[-1]
    limits = roundings(6, dtype, want.abs().max().item() + 1)
    expect_close(got, want.to(dtype), what=f"weights after 5 steps in {dtype}", hint=WIDE, **limits)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_v_forgets_in_half_precision(dtype):
    """A gradient of 16, then 200 of 0, then one of 1: v has lost a fifth of what the first one left. In bfloat16, v * 0.999
    would be v. Against float64; the weight starts at 0 and moves in the last step alone, because beta1 is 0."""

    def last_step(dtype):
        param = weight(0, dtype=dtype)
        optimizer = AdamW([param], lr=0.0, betas=(0.0, 0.999), weight_decay=0.0)
        grads = [16.0, *[0.0] * 200, 1.0]
        for number, grad in enumerate(grads):
            optimizer.param_groups[0]["lr"] = 1.0 if number == 201 else 0.0
            advance(optimizer, (param, numbers(grad)))
        return param.detach()

    got, want = last_step(dtype), last_step(torch.float64)
    what = f"the last step after a spike and 200 gradients of 0 in {dtype}"
    expect_close(got, want.to(dtype), what=what, hint=WIDE, rtol=0.01, atol=0.0)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_weight_is_rounded_once_a_step(dtype):
    """Below 1 a weight moves by eps / 2 of the dtype or not at all. Decay and update are 3/16 eps each: alone both round to
    nothing, together they are a move."""
    eps = torch.finfo(dtype).eps
    got = walk(weight(1, dtype=dtype), [numbers(1)], **PLAIN | {"lr": eps * 3 / 16, "weight_decay": 1.0})[-1]
    hint = "decay and update are both of the float32 copy, which is rounded at the end"
    expect_equal(got, numbers(1 - eps / 2, dtype=dtype), what=f"the weight 1 in {dtype}", hint=hint)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_loading_rounds_no_moments(rng, dtype):
    """torch's load_state_dict casts them to the parameter's dtype. A run of bfloat16 weights then goes on as another."""
    params = [random_weight(rng, 3, dtype=dtype) for _ in range(3)]

    def built(params):
        return AdamW([{"params": params[:2]}, {"params": params[2:]}], **BOTH)

    optimizer = built(params)
    for _ in range(3):
        advance(optimizer, *((param, randn(rng, 3)) for param in params))
    others = [nn.Parameter(param.detach().clone()) for param in params]
    resumed = built(others)
    resumed.load_state_dict(copied(optimizer))
    hint = "after super().load_state_dict, put the tensors of state_dict['state'] back as they were saved"
    for i, (param, other) in enumerate(zip(params, others, strict=True)):
        for got, want in zip(moments(resumed, other), moments(optimizer, param), strict=True):
            expect_equal(got, want, what=f"a moment of {dtype} parameter {i} of 3 after loading", hint=hint)
    grads = randn(rng, 3, 3)
    advance(optimizer, *zip(params, grads, strict=True))
    advance(resumed, *zip(others, grads, strict=True))
    for param, other in zip(params, others, strict=True):
        expect_equal(other.detach(), param.detach(), what=f"a weight in {dtype}, a step after loading", hint=hint)


def test_the_update_records_no_graph(rng):
    """backward(create_graph=True) leaves gradients with a graph. Moments that took it over would keep the activations of
    every step alive, and a weight with a graph is no parameter any more."""
    param = random_weight(rng, 3)
    optimizer = AdamW([param], **BOTH)
    for _ in range(2):
        param.grad = torch.autograd.grad((param**3).sum(), param, create_graph=True)[0]
        with called_for("a step with gradients that carry a graph", hint="with torch.no_grad():"):
            optimizer.step()
    param.grad = None
    expect(param.is_leaf and param.requires_grad, "the parameter should be a leaf that requires grad, but is not")
    graph = any(each.requires_grad for each in moments(optimizer, param))
    expect(not graph, "the moments should carry no graph, but do", hint="update everything under torch.no_grad()")
    expect(torch.is_grad_enabled(), "gradients should be enabled again after a step, but are off")
