"""How fast, beside bare steps and a loop that counts sample by sample: `pytest --benchmark-only --katas=solutions tests/classification_loop`. No verdict on seconds; on a GPU, one on how often an epoch waits for the device."""

import copy
import warnings
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from dojo.testing import expect, expect_close
from dojo.testing.gpu import compare, gpu_benchmark, report, seconds_of
from katas.classification_loop import evaluate, train_one_epoch


def mlp(width, device="cpu"):
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10)).to(device)


def batches_of(rng, count, size, device="cpu"):
    inputs, targets = torch.randn(count, size, 64, generator=rng), torch.randint(10, (count, size), generator=rng)
    return list(zip(inputs.to(device), targets.to(device), strict=True))


def bare_steps(model, batches, optimizer):
    """What an epoch cannot do without."""
    for inputs, targets in batches:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def sample_by_sample(model, batches, optimizer):
    """The naive way: right answers counted one by one, in Python."""
    total, right, seen = 0.0, 0, 0
    for inputs, targets in batches:
        optimizer.zero_grad()
        logits = model(inputs)
        loss = cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        for row, target in zip(logits, targets, strict=True):
            right += int(row.argmax().item() == target.item())
            total += loss.item()
            seen += 1
    return total / seen, right / seen


def test_speed_on_cpu(benchmark, capsys, rng):
    """An epoch of 24 batches of 64 handwritten-digit-sized inputs."""
    model, batches = mlp(128), batches_of(rng, 24, 64)
    optimizer = SGD(model.parameters(), lr=0.0)
    ways = {
        "yours": partial(train_one_epoch, model, batches, cross_entropy, optimizer, "cpu"),
        "naive (.item() for every sample)": partial(sample_by_sample, model, batches, optimizer),
        "bare forward, backward and step": partial(bare_steps, model, batches, optimizer),
        "your evaluate": partial(evaluate, model, batches, cross_entropy, "cpu"),
    }
    yours, naive = list(ways.values())[:2]
    expect_close(torch.tensor(tuple(yours())), torch.tensor(naive()), what="loss and accuracy of the epoch")
    compare(benchmark, capsys, ways)


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


@pytest.mark.gpu
@pytest.mark.benchmark(group="a training epoch on CUDA, 100 batches of 512")
def test_speed_on_gpu(benchmark, capsys, rng):
    """Samples a second, beside the bare forward, backward and step on the same batches, measured just before."""
    model, batches = mlp(2048, "cuda"), batches_of(rng, 100, 512, "cuda")
    optimizer = SGD(model.parameters(), lr=0.0)
    samples = 100 * 512
    seconds = []
    for _ in range(8):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        bare_steps(model, batches, optimizer)
        end.record()
        torch.cuda.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    floor = samples / sorted(seconds[2:])[3]

    def inputs():
        return model, batches, cross_entropy, optimizer, "cuda"

    _, result = gpu_benchmark(benchmark, train_one_epoch, inputs, rounds=10)
    expect_close(
        torch.tensor(tuple(result)),
        torch.tensor(tuple(evaluate(model, batches, cross_entropy, "cuda"))),
        what="loss and accuracy of an epoch at learning rate 0, and of evaluate",
        rtol=1e-3,
        atol=1e-3,
    )
    achieved = samples / seconds_of(benchmark)
    report(
        benchmark, capsys,
        f"{achieved / 1e6:.2f} million samples/s, {achieved / floor:.0%} of the bare steps' {floor / 1e6:.2f} million",
        achieved=achieved, fraction=achieved / floor,
    )  # fmt: skip
