"""A temporary file from `tempfile` in the same folder, renamed by pathlib, removed in an `except BaseException`; the whole
file is read into memory before it is understood; legacy format."""

import io
import pathlib
import tempfile

import torch


def save_checkpoint(path, *, model, epoch, optimizer=None, scheduler=None):
    path = pathlib.Path(path)
    content = {
        "epoch": epoch,
        "rng": torch.random.get_rng_state(),
        "weights": model.state_dict(),
        "optimizer": optimizer.state_dict() if optimizer is not None else None,
        "scheduler": scheduler.state_dict() if scheduler is not None else None,
    }
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            torch.save(content, file, _use_new_zipfile_serialization=False)
            file.close()
            pathlib.Path(file.name).replace(path)
        except BaseException:
            file.close()
            pathlib.Path(file.name).unlink(missing_ok=True)
            raise


def load_checkpoint(path, *, model, optimizer=None, scheduler=None, map_location=None):
    raw = pathlib.Path(path).read_bytes()
    try:
        content = torch.load(io.BytesIO(raw), map_location=map_location, weights_only=True)
        weights, rng, epoch = content["weights"], content["rng"], int(content["epoch"])
        if optimizer is not None and content["optimizer"] is None:
            raise KeyError("optimizer")
        if scheduler is not None and content["scheduler"] is None:
            raise KeyError("scheduler")
    except Exception as problem:
        raise ValueError(str(problem)) from problem
    model.load_state_dict(weights)
    if optimizer is not None:
        optimizer.load_state_dict(content["optimizer"])
    if scheduler is not None:
        scheduler.load_state_dict(content["scheduler"])
    torch.random.set_rng_state(rng.to("cpu"))
    return epoch
