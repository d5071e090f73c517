"""Stage 4. On a GPU: where batches go, and how often an epoch waits for the device."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from dojo.testing import expect, expect_close
from katas.classification_loop import evaluate, train_one_epoch


def mlp(width, device="cpu"):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)).to(device)


def batches_of(rng, count, size, device="cpu"):
    inputs, targets = torch.randn(count, size, 64, generator=rng), torch.randint(10, (count, size), generator=rng)
    return list(zip(inputs.to(device), targets.to(device), strict=True))


@pytest.mark.gpu
def test_batches_are_moved_to_the_gpu(rng):
    """The loader delivers on the CPU, the model is on the GPU; both devices report the same epoch."""
    model, batches = mlp(32), batches_of(rng, 3, 50)
    remote = copy.deepcopy(model).to("cuda")
    for pass_over in (train_one_epoch, evaluate):
        seen = []
        for net, device in ((model, "cpu"), (remote, "cuda")):
            optimizer = [SGD(net.parameters(), lr=0.1)] if pass_over is train_one_epoch else []
            seen.append(torch.tensor(tuple(pass_over(net, batches, cross_entropy, *optimizer, device))))
        what = f"loss and accuracy of {pass_over.__name__} on the GPU"
        expect_close(seen[1], seen[0], what=what, rtol=1e-3, atol=1e-3)  # TF32 and another order of summation


def waits(work):
    """How often `work` makes the host wait for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchronizing" in str(warning.message) for warning in caught)


@pytest.mark.gpu
@pytest.mark.parametrize("which", ["train_one_epoch", "evaluate"])
def test_nothing_waits_for_the_gpu_batch_by_batch(rng, which):
    """Every .item() stops the host until the queue is empty, and then the GPU until the host has caught up. Forty
    batches should wait as often as four: once or twice, at the end."""
    model = mlp(128, "cuda")
    optimizer = [SGD(model.parameters(), lr=0.1)] if which == "train_one_epoch" else []
    pass_over = {"train_one_epoch": train_one_epoch, "evaluate": evaluate}[which]
    counts = []
    for number in (4, 40):
        batches = batches_of(rng, number, 64, "cuda")
        pass_over(model, batches, cross_entropy, *optimizer, "cuda")  # lazy initialisation may wait once
        counts.append(waits(partial(pass_over, model, batches, cross_entropy, *optimizer, "cuda")))
    hint = "add to sums that stay on the device, and read them once, after the loop"
    expect(0 < counts[0], "an epoch has to read its result from the GPU once, but no wait was seen")
    sentence = (
        f"40 batches should wait for the GPU as often as 4 ({counts[0]} times), but {which} waited {counts[1]} times"
    )
    expect(counts[1] <= counts[0], sentence, hint=hint)
