"""Evaluation collects the logits of the whole set and computes the loss and the accuracy once, in numpy's manner;
training keeps the detached losses and reduces them at the end. Costs memory in proportion to the data set."""

import copy
from typing import NamedTuple

import numpy as np
import torch


class EpochResult(NamedTuple):
    loss: float
    accuracy: float


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    means, right, sizes = [], [], []
    model.train()
    for inputs, targets in loader:
        inputs = inputs.to(device, non_blocking=True)
        targets = targets.to(device, non_blocking=True)
        logits = model(inputs)
        loss = loss_fn(logits, targets)
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None
        loss.backward()
        optimizer.step()
        means.append(loss.detach())
        right.append((logits.detach().topk(1, dim=1).indices.squeeze(1) == targets).sum())
        sizes.append(len(targets))
    if not sizes:
        raise ValueError("the loader is empty")
    means, right = (torch.stack(values).double().cpu().numpy() for values in (means, right))
    return EpochResult(float(np.average(means, weights=sizes)), float(right.sum() / np.sum(sizes)))


def evaluate(model, loader, loss_fn, device):
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    logits, targets = [], []
    with torch.no_grad():
        for x, y in loader:
            logits.append(model(x.to(device)))
            targets.append(y.to(device))
        for module, mode in modes:  # parents come first, so their children have the last word
            module.train(mode)
        if not targets:
            raise ValueError("the loader is empty")
        logits, targets = torch.cat(logits), torch.cat(targets)
        loss = loss_fn(logits, targets)
        accuracy = (logits.argmax(dim=1) == targets).double().mean()
    return EpochResult(loss.item(), accuracy.item())


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if epochs < 1:
        raise ValueError("epochs must be 1 or more")
    best = None
    history = []
    for epoch in range(1, epochs + 1):
        lr = optimizer.param_groups[0]["lr"]
        train = train_one_epoch(model, train_loader, loss_fn, optimizer, device)
        val = evaluate(model, val_loader, loss_fn, device)
        if scheduler is not None:
            scheduler.step()
        if val.loss < (np.inf if best is None else best[0]):
            best = val.loss, copy.deepcopy(model.state_dict())
        row = (epoch, train.loss, train.accuracy, val.loss, val.accuracy, lr)
        keys = ["epoch", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr"]
        history.append(dict(zip(keys, row, strict=True)))
    if best is not None:
        model.load_state_dict(best[1])
    return history
