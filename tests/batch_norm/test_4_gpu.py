"""Stage 4. On a GPU: the same results, with buffers on the device of the layer."""

import copy

import pytest
import torch

from dojo.testing import HALVES, expect_close, expect_equal, roundings

from .helpers import BUFFERS, buffers, eighths, gradients, random_layer


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_both_modes_on_the_gpu(rng, dtype, layout):
    """The layer moves as a whole, buffers included, and takes images in both memory layouts."""
    x, layer = eighths(rng, 4, 3, 5, 6).to(dtype), random_layer(rng, 3).float()
    moved, on_gpu = copy.deepcopy(layer).cuda(), x.cuda().contiguous(memory_format=layout)
    for training in (True, False):
        want, got = layer.train(training)(x).detach(), moved.train(training)(on_gpu).detach()
        expect_equal(got.device.type, "cuda", what="the device of the result")
        what = f"{'training' if training else 'evaluation'} on the GPU in {dtype}, beside the CPU"
        expect_close(got.cpu(), want, what=what, **roundings(8, dtype, want))
    for name, got, want in zip(BUFFERS, buffers(moved), buffers(layer), strict=True):
        expect_equal(got.device.type, "cuda", what=f"the device of {name}", hint="register_buffer")
        expect_close(got.cpu(), want, what=f"{name} on the GPU", **roundings(8, torch.float32, want))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_the_backward_pass_on_the_gpu(rng, dtype):
    """Gradients of images, beside those on the CPU."""
    grad, x, weight = eighths(rng, 4, 3, 5, 6).to(dtype), eighths(rng, 4, 3, 5, 6).to(dtype), eighths(rng, 3).float()
    want = gradients(grad, x, weight)
    for name, got in gradients(grad.cuda(), x.cuda(), weight.cuda()).items():
        limits = roundings(16, got.dtype, want[name])
        expect_close(got.cpu(), want[name], what=f"{name} on the GPU in {dtype}", **limits)
