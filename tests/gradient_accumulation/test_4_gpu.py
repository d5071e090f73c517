"""Stage 4. On a GPU: sums, norms and factors are made where the gradients are."""

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, expect_close, expect_equal, numbers
from katas.gradient_accumulation import clip_grad_norm

from .helpers import expect_result, expect_weights, micro, stepped, trained


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_clipping_on_the_gpu(dtype):
    parameters = [nn.Parameter(torch.ones(2, dtype=dtype, device="cuda")) for _ in range(2)]
    for parameter, grad in zip(parameters, ([3, 0], [0, 4]), strict=True):
        parameter.grad = numbers(*grad, dtype=dtype).cuda()
    norm = clip_grad_norm(parameters, 2.5)
    expect_equal(norm.device.type, "cuda", what="the device of the norm", hint="where the gradients are")
    expect_equal(round(float(norm), 4), 5.0, what=f"the norm of {dtype} gradients on the GPU")
    what = f"a gradient in {dtype} on the GPU, clipped to half its norm"
    expect_close(parameters[0].grad.cpu(), numbers(1.5, 0, dtype=dtype), what=what, rtol=0.016, atol=0.0)


@pytest.mark.gpu
def test_a_step_on_the_gpu():
    run = trained(numbers(0, 0))
    run.model.cuda()
    batches = [micro([[30, 0]]), micro([[0, 20], [0, 10], [0, 10]])]
    result = stepped(run, *((x.cuda(), y.cuda()) for x, y in batches), max_norm=2.5)
    expect_result(result, 0.0, 4, 12.5, what="of a step on the GPU")
    run.model.cpu()
    expect_weights(run, [-1.5, -2], what="after a step on the GPU", hint="", rtol=2e-6, atol=1e-9)
