"""Takes everything to the CPU before saving, marks its own format, and copies the weights back tensor by tensor."""

import os
import secrets

import torch

FORMAT = "checkpoint, version 1"


def save_checkpoint(path, *, model, epoch, optimizer=None, scheduler=None):
    document = {
        "format": FORMAT,
        "epoch": epoch,
        "random": torch.get_rng_state(),
        "model": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        "others": [None if part is None else part.state_dict() for part in (optimizer, scheduler)],
    }
    path = os.path.abspath(path)
    name = f"{path}.{secrets.token_hex(4)}"
    try:
        torch.save(document, name)
        os.replace(name, path)
    except:
        if os.path.lexists(name):
            os.unlink(name)
        raise


def load_checkpoint(path, *, model, optimizer=None, scheduler=None, map_location=None):
    open(path, "rb").close()
    try:
        document = torch.load(path, map_location, weights_only=True)
        if document["format"] != FORMAT:
            raise ValueError(document["format"])
        pairs = list(zip((optimizer, scheduler), document["others"], strict=True))
        if any(part is not None and state is None for part, state in pairs):
            raise ValueError("a part is missing")
    except Exception as error:
        raise ValueError(f"{path}: {type(error).__name__}") from error
    mine = model.state_dict()
    if mine.keys() != document["model"].keys():
        raise ValueError("another model")
    with torch.no_grad():
        for name, tensor in mine.items():
            tensor.copy_(document["model"][name])
    for part, state in pairs:
        if part is not None:
            part.load_state_dict(state)
    torch.set_rng_state(document["random"].cpu())
    return document["epoch"]
