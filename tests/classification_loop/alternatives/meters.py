"""Object style: a meter that is fed batch by batch, a keeper of the best model (a deep copy of the whole model), and
loops that only wire them together."""

import copy
from dataclasses import dataclass

import torch
from torch.utils._pytree import tree_map


@dataclass(frozen=True)
class EpochResult:
    loss: float
    accuracy: float

    def _asdict(self):
        return {"loss": self.loss, "accuracy": self.accuracy}


class Meter:
    def __init__(self):
        self.total, self.weight = 0.0, 0

    def update(self, mean, n):
        self.total += float(mean) * n
        self.weight += n

    def compute(self):
        if not self.weight:
            raise ValueError("a meter without updates has no mean")
        return self.total / self.weight


class Keeper:
    def __init__(self):
        self.loss, self.model = float("inf"), None

    def offer(self, loss, model):
        if loss < self.loss:
            self.loss, self.model = loss, copy.deepcopy(model)

    def restore(self, model):
        if self.model is None:
            return
        with torch.no_grad():
            for mine, kept in zip(model.parameters(), self.model.parameters(), strict=True):
                mine.copy_(kept)
            for mine, kept in zip(model.buffers(), self.model.buffers(), strict=True):
                mine.copy_(kept)


def train_one_epoch(model, loader, loss_fn, optimizer, device):
    loss_meter, accuracy_meter = Meter(), Meter()
    model.train()
    for batch in loader:
        x, y = tree_map(lambda t: t.to(device), batch)
        optimizer.zero_grad()
        logits = model(x)
        loss = loss_fn(logits, y)
        loss.backward()
        optimizer.step()
        loss_meter.update(loss.item(), len(y))
        accuracy_meter.update(logits.argmax(-1).eq(y).float().mean().item(), len(y))
    return EpochResult(loss_meter.compute(), accuracy_meter.compute())


@torch.no_grad()
def evaluate(model, loader, loss_fn, device):
    loss_meter, accuracy_meter = Meter(), Meter()
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for batch in loader:
        x, y = tree_map(lambda t: t.to(device), batch)
        logits = model(x)
        loss_meter.update(loss_fn(logits, y).item(), len(y))
        accuracy_meter.update(logits.argmax(-1).eq(y).float().mean().item(), len(y))
    for module, mode in modes.items():
        module.training = mode
    return EpochResult(loss_meter.compute(), accuracy_meter.compute())


def fit(model, train_loader, val_loader, loss_fn, optimizer, *, epochs, scheduler=None, device="cpu"):
    if epochs < 1:
        raise ValueError("epochs < 1")
    keeper, history = Keeper(), []
    for epoch in range(1, epochs + 1):
        lr = optimizer.param_groups[0]["lr"]
        train = train_one_epoch(model, train_loader, loss_fn, optimizer, device)
        val = evaluate(model, val_loader, loss_fn, device)
        keeper.offer(val.loss, model)
        if scheduler:
            scheduler.step()
        history.append(
            {
                "lr": lr,
                "epoch": epoch,
                "val_loss": val.loss,
                "val_accuracy": val.accuracy,
                "train_loss": train.loss,
                "train_accuracy": train.accuracy,
            }
        )
    keeper.restore(model)
    return history
