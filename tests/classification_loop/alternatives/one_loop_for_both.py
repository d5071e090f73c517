"""Functional style: one private pass serves training and evaluation, the sums are float32 tensors on the device, and the
optimizer gets a closure."""

import copy
import functools
from collections import namedtuple
from contextlib import contextmanager

import torch

EpochResult = namedtuple("EpochResult", "loss accuracy")


def _pass(forward, batches, device):
    sums = torch.zeros(2, device=device)
    count = 0
    for inputs, targets in batches:
        inputs, targets = inputs.to(device), targets.to(device)
        loss, logits = forward(inputs, targets)
        hits = (logits.argmax(1) == targets).float()
        sums += torch.stack([loss.detach().float() * len(hits), hits.sum()])
        count += len(hits)
    if count == 0:
        raise ValueError("nothing to average")
    return EpochResult(*(sums.double() / count).tolist())


@contextmanager
def _mode(model, training):
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    with torch.set_grad_enabled(training):
        yield
    for module, mode in before:
        module.training = mode


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    def forward(inputs, targets):
        kept = []

        def closure():
            optimizer.zero_grad()
            logits = model(inputs)
            loss = loss_fn(logits, targets)
            loss.backward()
            kept.append((loss.detach(), logits.detach()))
            return loss

        optimizer.step(closure)
        return kept[-1]

    model.train()
    return _pass(forward, loader, device)


def evaluate(model, loader, loss_fn, device):
    def forward(inputs, targets):
        logits = model(inputs)
        return loss_fn(logits, targets), logits

    with _mode(model, False):
        return _pass(forward, loader, device)


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if not epochs >= 1:
        raise ValueError(epochs)
    one_epoch = functools.partial(train_one_epoch, model, train_loader, loss_fn, optimizer, device)
    validate = functools.partial(evaluate, model, val_loader, loss_fn, device)
    history, states = [], []
    for epoch in range(epochs):
        lr = optimizer.param_groups[0]["lr"]
        train, val = one_epoch(), validate()
        history.append(
            dict(zip(("train_loss", "train_accuracy", "val_loss", "val_accuracy"), (*train, *val), strict=True))
            | {"epoch": 1 + epoch, "lr": lr}
        )
        states.append(copy.deepcopy(model.state_dict()))
        if scheduler is not None:
            scheduler.step()
    # Every epoch's weights are kept, and the choice is made at the end; min takes the first of equals.
    finite = [e for e in range(epochs) if history[e]["val_loss"] < float("inf")]  # nor is NaN
    model.load_state_dict(states[min(finite, key=lambda e: history[e]["val_loss"])] if finite else states[-1])
    return history
