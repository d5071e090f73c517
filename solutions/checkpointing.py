"""Checkpointing.

How do you save a training run so that it can go on after a crash as if nothing had happened? And what if the crash
comes while you are saving?

A resumed run equals an uninterrupted one when everything that the next step reads is put back: weights and buffers,
the optimizer's state (momentum, Adam's moments and step counts), the scheduler's position, the epoch, and torch's
random state, which dropout and shuffling draw from.

A file is replaced safely in two moves: write the whole of the new one under another name in the same folder, then
rename it onto the old one with `os.replace`. The rename is atomic within one file system: whoever opens `path` finds
the old checkpoint or the new one, never a part, and never nothing.

Rules: write with `torch.save`. Read with `torch.load(..., weights_only=True)`: a pickle can run any code while it is
loaded, and this option refuses everything but tensors, numbers, strings and plain containers. So store state_dicts,
not objects. How the file is organised inside is up to you; only your own `load_checkpoint` reads it.

Stage 1: save, load, resume.  Stage 2: crashes while saving, missing and damaged files.  Stage 3: dtypes, devices,
hostile files.  Stage 4: every tensor is stored once, and nothing else.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler


def save_checkpoint(
    path: str | os.PathLike,
    *,
    model: nn.Module,
    epoch: int,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
) -> None:
    """Writes the state of `model`, `optimizer` and `scheduler` (those given), the epoch and torch's CPU random state.

    `path` changes in one step, from the old file (if any) to the whole new one; the folder exists already. When
    writing or renaming fails, that error reaches the caller, the old file is still there, unharmed, and no temporary
    file is left behind. Nor is one after a success. Saving changes nothing about the run, its random state included.
    """
    # kata: begin
    path = Path(path)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    checkpoint: dict[str, Any] = {name: part.state_dict() for name, part in parts.items() if part is not None}
    checkpoint |= {"epoch": epoch, "random_state": torch.get_rng_state()}
    # Beside the old file: a rename is atomic only within one file system.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())  # or a power cut after the rename could leave a name without its content
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)  # after a rename there is nothing left to remove
    # kata: end


def load_checkpoint(
    path: str | os.PathLike,
    *,
    model: nn.Module,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    map_location: torch.device | str | dict[str, str] | Callable | None = None,
) -> int:
    """Puts the saved state back into the objects given, in place, and torch's CPU random state; returns the epoch.

    The epoch is the number that was saved. The optimizer still trains this model's parameters afterwards. Modes
    (train or eval) stay as they are. Parts of the file that are not asked for are ignored, so that a checkpoint of a
    whole run also serves for inference. `map_location` is torch.load's: where stored tensors go that were saved on
    another device. The random state is restored on the CPU whatever it says.

    Raises FileNotFoundError if there is no file. Raises ValueError, before anything has been changed, if the file is
    damaged (empty, cut off, garbage), is not a checkpoint, holds anything that `weights_only=True` refuses, or lacks
    the state of an object that is given. Weights that do not fit the model raise what `load_state_dict` raises.
    """
    # kata: begin
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    with open(path, "rb") as file:  # what fails here (no such file, no permission) is not damage
        try:
            checkpoint = torch.load(file, map_location=map_location, weights_only=True)
            epoch, random_state = checkpoint["epoch"], checkpoint["random_state"]
            states = [(part, checkpoint[name]) for name, part in parts.items() if part is not None]
        except Exception as error:  # damage shows as RuntimeError, EOFError, OSError, UnpicklingError, KeyError, ...
            raise ValueError(f"{path} cannot be read as a checkpoint: {error}") from error
    for part, state in states:
        part.load_state_dict(state)
    torch.set_rng_state(random_state.cpu())  # map_location has moved this tensor too
    return epoch
    # kata: end
