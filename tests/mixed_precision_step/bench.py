"""A step of a model of many parameters, whose forward and backward take little: the time goes to gradients and weights.
The learning rate is 0, so that every call does the same."""

from functools import partial

import torch
from torch import nn
from torch.optim import SGD

from dojo.testing.bench import work


def squares(model, batch):
    """A loss that reads every weight once."""
    return sum((parameter.float() * batch).sum() for parameter in model)


def weights(bench, layers, width):
    return nn.ParameterList(bench.randn(width, width).half() for _ in range(layers))


def step(kata, model, optimizer, masters, scaler):
    result = kata.train_step(model, [0.01], squares, optimizer, masters, scaler, max_norm=1.0)
    return torch.tensor([result.loss, result.grad_norm])


@work(layers=24, width=1024, tiny={"layers": 4, "width": 256}, sweep={"layers": (6, 12)}, grows={"width": 2})
def one_step(bench, layers, width):
    """float16 gradients are read once and float32 ones written once, at least."""
    model = weights(bench, layers, width)

    def way(kata):
        masters = kata.MasterWeights(model.parameters())
        return partial(step, kata, model, SGD(masters.masters, lr=0.0), masters, kata.LossScaler(128.0))

    bench.katas(way)

    def naive():
        loss = squares(model, 0.01)
        (128.0 * loss).backward()
        grads = [parameter.grad.float() / 128 for parameter in model]
        skipped = any(bool(grad.isinf().any()) or bool(grad.isnan().any()) for grad in grads)
        norm = sum(grad.norm().item() ** 2 for grad in grads) ** 0.5
        for parameter, grad in zip(model, grads, strict=True):
            parameter.data.copy_(parameter.float() - 0.0 * grad * min(1.0, 1.0 / norm) * (not skipped))
            parameter.grad = None
        return torch.tensor([loss.item(), norm])

    bench.way("naive: a read for each parameter", naive)
    bench.same(rtol=1e-3, atol=1e-3)
    bench.floor(bytes=layers * width * width * (2 + 4))
