"""Evaluates under torch.inference_mode with a try/finally, keeps the best state as serialised bytes, fills gradients
with zeros instead of dropping them, and asks the scheduler for the rate."""

import io
import math
from typing import NamedTuple

import torch


class EpochResult(NamedTuple):
    loss: float
    accuracy: float


def _finish(losses, sizes, correct):
    if not sizes:
        raise ValueError("no batches")
    weights = torch.tensor(sizes, dtype=torch.float64)
    losses = torch.stack(losses).to("cpu", torch.float64)
    return EpochResult((losses @ weights / weights.sum()).item(), (torch.stack(correct).sum() / weights.sum()).item())


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    model.train(True)
    losses, sizes, correct = [], [], []
    for batch in loader:
        inputs, targets = (part.to(device=device) for part in batch)
        optimizer.zero_grad(set_to_none=False)
        logits = model(inputs)
        loss = loss_fn(logits, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
        sizes.append(targets.numel())
        correct.append(torch.eq(logits.detach().max(dim=1).indices, targets).sum().cpu())
    return _finish(losses, sizes, correct)


def evaluate(model, loader, loss_fn, device):
    training = [module for module in model.modules() if module.training]  # eval() leaves the others as they are
    losses, sizes, correct = [], [], []
    try:
        model.train(False)
        with torch.inference_mode():
            for batch in loader:
                inputs, targets = (part.to(device=device) for part in batch)
                logits = model(inputs)
                losses.append(loss_fn(logits, targets))
                sizes.append(targets.numel())
                correct.append(torch.eq(logits.max(dim=1).indices, targets).sum().cpu())
            return _finish(losses, sizes, correct)
    finally:
        for module in training:
            module.training = True


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if epochs < 1:
        raise ValueError("at least one epoch, please")
    saved, lowest, history = None, math.inf, []
    for epoch in range(1, epochs + 1):
        rate = optimizer.param_groups[0]["lr"] if scheduler is None else scheduler.get_last_lr()[0]
        train = train_one_epoch(model, train_loader, loss_fn, optimizer, device)
        if scheduler is not None:
            scheduler.step()
        val = evaluate(model, val_loader, loss_fn, device)
        if val.loss < lowest:
            lowest, saved = val.loss, io.BytesIO()
            torch.save(model.state_dict(), saved)
        entry = {"epoch": epoch, "lr": rate}
        for name, result in (("train", train), ("val", val)):
            entry |= {f"{name}_{key}": value for key, value in result._asdict().items()}
        history.append(entry)
    if saved is not None:
        saved.seek(0)
        model.load_state_dict(torch.load(saved, weights_only=True))
    return history
