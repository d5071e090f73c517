"""Writes in a temporary folder beside the file (it goes away by itself, with whatever is in it), renames from there, reads with a CPU default for map_location, and uses the generator's own state."""

import os
import tempfile
from pathlib import Path

import torch


def save_checkpoint(path, *, model, epoch, optimizer=None, scheduler=None):
    target = Path(path)
    state = dict(model=model.state_dict(), epoch=epoch, random=torch.default_generator.get_state())
    if optimizer is not None:
        state["optimizer"] = optimizer.state_dict()
    if scheduler is not None:
        state["scheduler"] = scheduler.state_dict()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".saving-") as folder:
        fresh = Path(folder, target.name)
        torch.save(state, fresh)
        os.replace(fresh, target)


def load_checkpoint(path, *, model, optimizer=None, scheduler=None, map_location=None):
    try:
        state = torch.load(path, map_location=map_location or "cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(error) from error
    needed = {"model", "epoch", "random"}
    needed |= {"optimizer"} if optimizer is not None else set()
    needed |= {"scheduler"} if scheduler is not None else set()
    if not isinstance(state, dict) or not needed <= state.keys():
        raise ValueError(f"{path} holds no checkpoint, or not all of one")
    model.load_state_dict(state["model"], strict=True)
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(state["scheduler"])
    torch.default_generator.set_state(state["random"].cpu())
    return state["epoch"]
