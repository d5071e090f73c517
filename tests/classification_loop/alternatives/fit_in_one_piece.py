"""`fit` does not call the other two functions but holds both loops itself, as scripts often do; the accuracy is counted
from probabilities, and the gradients are taken with torch.autograd.grad."""

import math
from typing import NamedTuple

import torch


class EpochResult(NamedTuple):
    loss: float
    accuracy: float


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    model.train()
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    total, hits, n = 0.0, 0, 0
    for inputs, targets in iter(loader):
        inputs, targets = inputs.to(torch.device(device)), targets.to(torch.device(device))
        logits = model(inputs)
        loss = loss_fn(logits, targets)
        for parameter, grad in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = grad
        optimizer.step()
        size = targets.shape[0]
        total, hits, n = total + size * loss.item(), hits + _hits(logits.detach(), targets), n + size
    if n == 0:
        raise ValueError("no samples")
    return EpochResult(total / n, hits / n)


def _hits(logits, targets):
    probabilities = torch.softmax(logits.double(), dim=1)
    return int(torch.sum(torch.argmax(probabilities, dim=1) == targets))


def evaluate(model, loader, loss_fn, device):
    training = {name for name, module in model.named_modules() if module.training}
    model.eval()
    total, hits, n = 0.0, 0, 0
    for inputs, targets in loader:
        inputs, targets = inputs.to(torch.device(device)), targets.to(torch.device(device))
        with torch.no_grad():
            logits = model(inputs)
            loss = loss_fn(logits, targets)
        total += loss.item() * targets.shape[0]
        hits += _hits(logits, targets)
        n += targets.shape[0]
    for name, module in model.named_modules():
        module.training = name in training
    if n == 0:
        raise ValueError("no samples")
    return EpochResult(total / n, hits / n)


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if epochs < 1:
        raise ValueError("no epochs")
    history, best, lowest = [], None, math.inf
    for epoch in range(1, epochs + 1):
        entry = {"epoch": epoch, "lr": optimizer.param_groups[0]["lr"]}
        for name, loader in (("train", train_loader), ("val", val_loader)):
            training = name == "train"
            model.train(training)
            total, hits, n = 0.0, 0, 0
            with torch.set_grad_enabled(training):
                for inputs, targets in loader:
                    inputs, targets = inputs.to(device), targets.to(device)
                    logits = model(inputs)
                    loss = loss_fn(logits, targets)
                    if training:
                        optimizer.zero_grad()
                        loss.backward()
                        optimizer.step()
                    total += loss.item() * len(inputs)
                    hits += _hits(logits.detach(), targets)
                    n += len(inputs)
            if n == 0:
                raise ValueError("no samples")
            entry[f"{name}_loss"], entry[f"{name}_accuracy"] = total / n, hits / n
        if scheduler is not None:
            scheduler.step()
        if entry["val_loss"] < lowest:
            lowest = entry["val_loss"]
            best = {key: value.detach().cpu().clone() for key, value in model.state_dict().items()}
        history.append(entry)
    if best is not None:
        model.load_state_dict(best)
    return history
