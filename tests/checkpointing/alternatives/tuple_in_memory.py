"""Serialises into memory first, writes those bytes to a neighbour and renames it with os.rename; the file is a plain tuple,
the random state a list of numbers, which map_location cannot move."""

import io
import os

import torch


def save_checkpoint(path, *, model, epoch, optimizer=None, scheduler=None):
    buffer = io.BytesIO()
    states = tuple(None if part is None else part.state_dict() for part in (model, optimizer, scheduler))
    torch.save((*states, torch.get_rng_state().tolist(), epoch), buffer)
    neighbour = os.fspath(path) + ".new"
    try:
        with open(neighbour, "wb") as file:
            file.write(buffer.getbuffer())
        os.rename(neighbour, path)
    finally:
        if os.path.exists(neighbour):
            os.remove(neighbour)


def load_checkpoint(path, *, model, optimizer=None, scheduler=None, map_location=None):
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    try:
        *states, numbers, epoch = torch.load(path, map_location=map_location, weights_only=True)
        random_state = torch.tensor(numbers, dtype=torch.uint8)
        wanted = [(part, state) for part, state in zip((model, optimizer, scheduler), states, strict=True) if part]
        complete = all(isinstance(state, dict) for _, state in wanted)
    except Exception as error:
        raise ValueError(f"not a checkpoint: {path}") from error
    if not complete:
        raise ValueError(f"{path} lacks a part")
    for part, state in wanted:
        part.load_state_dict(state)
    torch.set_rng_state(random_state)
    return epoch
