"""A dataclass that knows how to capture and to apply a run, and a context manager for atomic writes. Nothing is stored under
a name that is not given."""

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@contextmanager
def atomic(path):
    temporary = path.parent / f"{path.stem}.partial"
    try:
        yield temporary
        temporary.rename(path)
    finally:
        if temporary.exists():
            temporary.unlink()


@dataclass
class Snapshot:
    epoch: int
    random: torch.Tensor
    states: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, epoch, parts):
        return cls(epoch, torch.get_rng_state(), {name: part.state_dict() for name, part in parts.items()})

    def apply(self, parts):
        for name in parts:
            parts[name].load_state_dict(self.states[name])
        torch.set_rng_state(self.random.cpu())
        return self.epoch


def _given(**parts):
    return {name: part for name, part in parts.items() if part is not None}


def save_checkpoint(path, *, model, epoch, optimizer=None, scheduler=None):
    snapshot = Snapshot.of(epoch, _given(model=model, optimizer=optimizer, scheduler=scheduler))
    with atomic(Path(path)) as temporary, open(temporary, "wb") as file:
        torch.save(vars(snapshot), file)
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path, *, model, optimizer=None, scheduler=None, map_location=None):
    parts = _given(model=model, optimizer=optimizer, scheduler=scheduler)
    with Path(path).open("rb") as file:
        try:
            snapshot = Snapshot(**torch.load(file, map_location=map_location, weights_only=True))
            missing = parts.keys() - snapshot.states.keys()
        except Exception as error:
            raise ValueError(f"{path} is damaged") from error
    if missing:
        raise ValueError(f"{path} lacks {sorted(missing)}")
    return snapshot.apply(parts)
