"""The beginner's loop: Python numbers with `.item()` after every batch, gradients cleared after the step, cloned weights.

On a GPU it waits once or twice per batch; everywhere else it is as good as any."""

from typing import NamedTuple

import torch


class EpochResult(NamedTuple):
    loss: float
    accuracy: float


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    model.train()
    loss_sum, correct, seen = 0.0, 0, 0
    for x, y in loader:
        x = x.to(device)
        y = y.to(device)
        out = model(x)
        loss = loss_fn(out, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss_sum += loss.item() * x.size(0)
        correct += (out.argmax(dim=1) == y).sum().item()
        seen += x.size(0)
    if seen == 0:
        raise ValueError("empty loader")
    return EpochResult(loss_sum / seen, correct / seen)


def evaluate(model, loader, loss_fn, device):
    modes = []
    for module in model.modules():
        modes.append(module.training)
    model.eval()
    loss_sum, correct, seen = 0.0, 0, 0
    with torch.no_grad():
        for x, y in loader:
            x = x.to(device)
            y = y.to(device)
            out = model(x)
            loss_sum += loss_fn(out, y).item() * x.size(0)
            _, guess = torch.max(out, 1)
            correct += (guess == y).sum().item()
            seen += x.size(0)
    for module, mode in zip(model.modules(), modes, strict=True):
        module.training = mode
    if seen == 0:
        raise ValueError("empty loader")
    return EpochResult(loss_sum / seen, correct / seen)


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if epochs <= 0:
        raise ValueError("epochs must be positive")
    history = []
    best_loss = float("inf")
    best_weights = None
    for epoch in range(epochs):
        train = train_one_epoch(model, train_loader, loss_fn, optimizer, device)
        val = evaluate(model, val_loader, loss_fn, device)
        history.append(
            dict(
                epoch=epoch + 1,
                train_loss=train.loss,
                train_accuracy=train.accuracy,
                val_loss=val.loss,
                val_accuracy=val.accuracy,
                lr=optimizer.param_groups[0]["lr"],
            )
        )
        if scheduler is not None:
            scheduler.step()
        if val.loss < best_loss:
            best_loss = val.loss
            best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    if best_weights is not None:
        model.load_state_dict(best_weights)
    return history
