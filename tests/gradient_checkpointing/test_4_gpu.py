"""Stage 4. On a GPU: its random stream and its autocast state come back too, and memory is saved there."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing import expect, expect_close, expect_equal, randn
from katas.gradient_checkpointing import checkpoint, checkpoint_sequential

from .helpers import go_back, leaf, tensor


@pytest.mark.gpu
def test_dropout_and_autocast_on_the_gpu(rng):
    """y = dropout(exp(x)) has the slope y, from the GPU's own stream; x w is in bfloat16 both times."""
    x = leaf(randn(rng, 1024, dtype=torch.float32).cuda())
    y = tensor(checkpoint(lambda x: F.dropout(x.exp(), 0.5), x), "checkpoint(dropout(exp(x)), x)", x)
    torch.rand(3, device="cuda")
    go_back(y, "checkpoint(dropout(exp(x)), x)")
    hint = "remember the state of the stream of each GPU as well: torch.cuda.get_rng_state_all()"
    expect_close(x.grad, y, what="the gradient of dropout(exp(x)) on the GPU, which is its value", hint=hint)
    w, dtypes = leaf(randn(rng, 16, 16, dtype=torch.float32).cuda()), []

    def function(x):
        dtypes.append((x @ w).dtype)
        return (x @ w).tanh()

    with torch.autocast("cuda", torch.bfloat16):
        y = checkpoint(function, x.detach().view(64, 16))
    go_back(y, "checkpoint under autocast on the GPU")
    expect_equal(dtypes, 2 * [torch.bfloat16], what="the dtypes of x w in both runs", hint="autocast of CUDA, too")


@pytest.mark.gpu
def test_memory_is_saved_on_the_gpu(rng):
    """16 blocks of width 512 in 4 segments: at most half of the plain step's peak above the weights."""
    layers = [nn.Sequential(nn.Linear(512, 2048), nn.GELU(), nn.Linear(2048, 512)).cuda() for _ in range(16)]
    x, peaks = leaf(randn(rng, 4096, 512, dtype=torch.float32).cuda()), []
    for segments in (None, None, 4):  # the first step makes the gradients
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        y = nn.Sequential(*layers)(x) if segments is None else checkpoint_sequential(layers, segments, x)
        go_back(y, "checkpoint_sequential on the GPU")
        torch.cuda.synchronize()
        peaks.append(torch.cuda.max_memory_allocated() - before)
    plain, peak = (f"{size / 2**20:.0f} MiB" for size in peaks[1:3])
    sentence = f"the peak should be at most half of the plain step's {plain}, but is {peak}"
    expect(peaks[2] <= peaks[1] / 2, sentence, hint="keep only the inputs of segments")
