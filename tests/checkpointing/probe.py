"""What can be seen of a checkpoint: folders and files around crashes, runs that go on, errors. Never its format."""

import errno
import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import StepLR

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Pairs

DAMAGED = ("missing", "empty", "start", "cut", "garbage", "list", "dict", "hostile")
LACKING = ("no optimizer saved", "no scheduler saved")


class Unwritable:
    def __reduce__(self):
        raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(StepLR):
    def state_dict(self):
        return {**super().state_dict(), "extra": Unwritable()}


class Hostile:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def cases(rng):
    def case(name, of):
        garbage = bytes(randint(rng, 0, 256, 300).tolist())
        return Case(name, of=of, inputs=randn(rng, 6, 5, 3), epoch=int(randint(rng, 0, 10**9, 1)), garbage=garbage)

    for name in ("new file", "rename fails", "disks", "full disk", "full disk at first", "read back"):
        yield case(name, "save_checkpoint")
    for name in ("SGD", "Adam", "eval", "only the model", *LACKING, *DAMAGED, "misfit", "gpu", "asks where"):
        yield case(name, "load_checkpoint")


class Run:
    def __init__(self, case, weight=1.0):
        layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2)
        self.model = nn.Sequential(*layers).double()
        for parameter in self.model.parameters():
            nn.init.constant_(parameter, weight)
        make = Adam if case.name == "Adam" else SGD
        self.optimizer = make(self.model.parameters(), lr=0.1, **({} if make is Adam else {"momentum": 0.9}))
        self.scheduler = StepLR(self.optimizer, 2, 0.5)

    def parts(self, *names):
        return {name: getattr(self, name) for name in names or ("model", "optimizer", "scheduler")}

    def train(self, inputs):
        for x in inputs:
            self.optimizer.zero_grad()
            (self.model(x) - x[:, :2]).square().mean().backward()
            self.optimizer.step()
            self.scheduler.step()
        return self

    def seen(self):
        return [t.detach().clone() for t in self.model.state_dict().values()] + [self.optimizer.param_groups[0]["lr"]]


@contextmanager
def patched(owner, **replacements):
    before = {name: getattr(owner, name) for name in replacements}
    try:
        for name, value in replacements.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def outcome(call, *args, **kwargs):
    """What a call returned, or the kind of its error."""
    try:
        return call(*args, **kwargs)
    except NotImplementedError:
        raise
    except Exception as error:
        kinds = FileNotFoundError, OSError, ValueError, Exception
        return next(kind.__name__ for kind in kinds if isinstance(error, kind))


def digest(path):
    """Of constant size, so that two files can only be equal or not."""
    return torch.tensor(list(hashlib.sha256(path.read_bytes() if path.is_file() else b"").digest()))


def run(kata, case):
    # Waiting for the disk takes ten times as long as all the rest.
    with tempfile.TemporaryDirectory() as folder, patched(os, fsync=lambda file: None):
        whole = case.of == "load_checkpoint" or case.name == "read back"
        return (run_load if whole else run_save)(kata, case, Path(folder, "last.pt"))


def run_save(kata, case, path):
    first, link = Run(case), path.with_name("link")
    if case.name not in ("new file", "full disk at first"):
        kata.save_checkpoint(path, **first.parts(), epoch=1)
        os.link(path, link)
    old = digest(link)

    def refuse(source, target, **_):
        tried.append(True)
        if case.name == "rename fails" or not Path(source).resolve().is_relative_to(path.resolve().parent):
            raise OSError(errno.EXDEV, "no")
        true(source, target)

    tried, true, parts = [], os.replace, first.train(case.inputs[:2]).parts()
    if case.name.startswith("full disk"):
        parts["scheduler"] = FullDisk(first.optimizer, 1)
    random = torch.get_rng_state()
    with patched(os, replace=refuse, rename=refuse):
        result = outcome(kata.save_checkpoint, path, **parts, epoch=case.epoch)
    return {
        "result": result,
        "files": len(list(path.parent.iterdir())),
        "rename tried": bool(tried),
        "old file": Pairs(old, digest(link)),
        "path": [path.is_file(), Pairs(old, digest(path))],
        "random state": Pairs(random, torch.get_rng_state()),
        "model": first.seen(),
    }


def run_load(kata, case, path):
    first, second, options = Run(case).train(case.inputs[:3]), Run(case, weight=0.5), {}
    lacking = case.name.removeprefix("no ").removesuffix(" saved")
    parts = {name: part for name, part in first.parts().items() if name != lacking}
    asked, places = second.parts(), []
    if case.name == "eval":
        second.model.eval()
    elif case.name == "only the model":
        asked = second.parts("model")
    elif case.name == "misfit":
        asked = {"model": nn.Sequential(*second.model, nn.Linear(2, 2, dtype=torch.float64))}
    elif case.name == "gpu":
        options = {"map_location": "cpu"}
    elif case.name == "asks where":
        options = {"map_location": lambda storage, place: places.append(place) or storage}
    fake = {"location_tag": lambda storage: "cuda:0"} if case.name == "gpu" else {}
    with patched(torch.serialization, **fake):
        kata.save_checkpoint(path, **parts, epoch=case.epoch)
    if case.name in DAMAGED:
        damage(case, path)
    torch.default_generator.manual_seed(77)
    result = outcome(kata.load_checkpoint, path, **asked, **options)
    known = case.name != "misfit"  # which error it is, and what came first, is free there
    seen = {
        "result": result if known else isinstance(result, str),
        "next": torch.rand(3) if known else None,
        "loaded": second.seen() if known else None,
        "hacked": (path.parent / "hacked").exists(),
        "places": sorted(set(places)),
        "training": second.model.training,
    }
    refused = not known or case.name in (*DAMAGED, *LACKING)
    return {**seen, "later": None if refused else second.train(case.inputs[3:]).seen()}


def damage(case, path):
    whole = path.read_bytes()
    files = {"empty": b"", "start": whole[:4], "cut": whole[: len(whole) // 2], "garbage": case.garbage}
    contents = {"list": [1, 2], "dict": {"lr": 0.1}, "hostile": Hostile(path.parent / "hacked")}
    if case.name in files:
        path.write_bytes(files[case.name])
    elif case.name in contents:
        torch.save(contents[case.name], path)
    else:
        path.unlink()
