"""The floor is the bare forward, backward and step on batches that are where the model is."""

from functools import partial

from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from dojo.testing.bench import work

INPUTS, CLASSES, BATCHES = 64, 10, 24  # a small epoch of handwritten digits


def mlp(width, device):
    return nn.Sequential(nn.Linear(INPUTS, width), nn.ReLU(), nn.Linear(width, CLASSES)).to(device)


def batches_of(bench, rows):
    return [(bench.randn(rows, INPUTS), bench.randint(CLASSES, rows)) for _ in range(BATCHES)]


def bare_steps(model, batches, optimizer):
    """What an epoch cannot do without."""
    for inputs, targets in batches:
        optimizer.zero_grad()
        cross_entropy(model(inputs), targets).backward()
        optimizer.step()


def sample_by_sample(model, batches, optimizer):
    """Right answers are counted one by one, in Python."""
    total, right, count = 0.0, 0, 0
    for inputs, targets in batches:
        optimizer.zero_grad()
        logits = model(inputs)
        loss = cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        for row, target in zip(logits, targets, strict=True):
            right += int(row.argmax().item() == target.item())
            total += loss.item()
            count += 1
    return total / count, right / count


def expect_equal_reports(results):
    """The bare steps report nothing."""
    reports = {name: tuple(result) for name, result in results.items() if result is not None}
    first, *others = reports.values()
    for other in others:
        assert all(abs(a - b) <= 1e-4 * max(1, abs(a)) for a, b in zip(first, other, strict=True)), reports


SIZE = {"rows": 64, "width": 128, "sweep": {"rows": (16, 256), "width": (32, 512)}, "gpu": {"rows": 512, "width": 2048}}
GROWTH = {"grows": {"rows": 1, "width": 1}, "tiny": {"rows": 32, "width": 256}, "counts": "flops"}


@work(**SIZE, **GROWTH)
def train(bench, rows, width):
    """An epoch of 24 batches of 64 features, at learning rate 0."""
    model, batches = mlp(width, bench.device), batches_of(bench, rows)
    optimizer = SGD(model.parameters(), lr=0.0)
    bench.katas(
        lambda kata: partial(kata.train_one_epoch, model, batches, cross_entropy, optimizer, bench.device),
    )
    bench.way("naive: sample by sample", partial(sample_by_sample, model, batches, optimizer))
    bench.way("bare steps", partial(bare_steps, model, batches, optimizer))
    bench.check(expect_equal_reports)
    bench.floor(flops=BATCHES * rows * width * (2 * 2 * INPUTS + 3 * 2 * CLASSES))


@work(**SIZE, **GROWTH)
def measure(bench, rows, width):
    """Loss and accuracy of 24 batches of 64 features."""
    model, batches = mlp(width, bench.device), batches_of(bench, rows)
    bench.katas(lambda kata: partial(kata.evaluate, model, batches, cross_entropy, bench.device))
    bench.floor(flops=BATCHES * rows * width * 2 * (INPUTS + CLASSES))
