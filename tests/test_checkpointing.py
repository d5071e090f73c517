"""What any right checkpoint does. Crashes are made, not imagined: pickling that fails, renames that fail."""

import errno
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR

from dojo.testing import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
)
from katas.checkpointing import load_checkpoint, save_checkpoint

RUNS = {
    "SGD with momentum": lambda p: SGD(p, lr=0.05, momentum=0.9),
    "Adam": lambda p: Adam(p, lr=0.02),
}


class Crash(BaseException):
    """The process dies here: no `except Exception` runs."""


class Unwritable:
    """The disk is full just when this is written."""

    def __reduce__(self):
        raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(StepLR):
    def state_dict(self):
        return {**super().state_dict(), "extra": Unwritable()}


class Hostile:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


class Run:
    """A small training run, with dropout, BatchNorm, an optimizer and a scheduler."""

    def __init__(self, optimizer="SGD with momentum", dtype=torch.float64):
        layers = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 2)
        self.model = nn.Sequential(*layers).to(dtype)
        self.optimizer = RUNS[optimizer](self.model.parameters())
        self.scheduler = StepLR(self.optimizer, step_size=2, gamma=0.5)
        self.dtype = dtype

    @property
    def parts(self):
        return {"model": self.model, "optimizer": self.optimizer, "scheduler": self.scheduler}

    def train(self, steps):
        for _ in range(steps):
            x = torch.randn(8, 4, dtype=self.dtype)  # data from the global stream, as shuffling is
            self.optimizer.zero_grad()
            mse_loss(self.model(x), x[:, :2]).backward()
            self.optimizer.step()
            self.scheduler.step()
        return self


def names(folder):
    return sorted(p.name for p in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder / "last.pt"


@pytest.fixture
def renames(monkeypatch):
    """Puts something in the way of every rename: `renames(check)` calls check(source, target) before it happens."""

    def install(check):
        for name in ("replace", "rename"):
            true = getattr(os, name)

            def wrapped(source, target, *args, _true=true, **kwargs):
                check(Path(source), Path(target))
                return _true(source, target, *args, **kwargs)

            monkeypatch.setattr(os, name, wrapped)

    return install


# Stage 1: save, load, resume


@pytest.mark.stage(1)
@pytest.mark.parametrize("optimizer", RUNS)
def test_a_resumed_run_equals_an_uninterrupted_one(rng, path, optimizer):
    """The property that a checkpoint exists for, with momentum, dropout, BatchNorm, a schedule and random data.
    Everything that a step reads must come back, bit by bit."""
    run = Run(optimizer).train(3)
    save_checkpoint(path, **run.parts, epoch=3)
    run.train(4)
    resumed = Run(optimizer)
    load_checkpoint(path, **resumed.parts)
    resumed.train(4)
    hint = "one of these is not restored: weights, buffers, optimizer state, scheduler, random state"
    for name, wanted in run.model.state_dict().items():
        expect_equal(
            resumed.model.state_dict()[name], wanted, what=f"{name} after 3 + 4 steps of {optimizer}", hint=hint
        )


@pytest.mark.stage(1)
def test_weights_and_buffers_come_back(rng, path):
    """BatchNorm's statistics are part of the model as much as its weights: state_dict, not parameters."""
    run = Run().train(2)
    save_checkpoint(path, model=run.model, epoch=2)
    fresh = Run()
    load_checkpoint(path, model=fresh.model)
    for name, wanted in run.model.state_dict().items():
        expect_equal(fresh.model.state_dict()[name], wanted, what=name, hint="save the whole model.state_dict()")


@pytest.mark.stage(1)
@pytest.mark.parametrize("epoch", [0, 7])
def test_the_epoch_comes_back_as_it_was_saved(rng, path, epoch):
    """Whether it counts finished epochs or names the next one is the caller's affair: no + 1 here."""
    run = Run()
    save_checkpoint(path, **run.parts, epoch=epoch)
    expect_equal(load_checkpoint(path, **run.parts), epoch, what="the epoch from load_checkpoint")


@pytest.mark.stage(1)
def test_the_optimizer_remembers_its_momentum(rng, path):
    """With a gradient of 0 only the momentum moves the weights. A fresh optimizer would stand still."""
    run = Run().train(3)
    save_checkpoint(path, **run.parts, epoch=3)
    resumed = Run()
    load_checkpoint(path, **resumed.parts)
    moved = []
    for each in (run, resumed):
        before = each.model[0].weight.detach().clone()
        for parameter in each.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        each.optimizer.step()
        moved.append(each.model[0].weight - before)
    hint = "save and load optimizer.state_dict(); keep the model's own parameters, which the optimizer holds"
    expect_equal(moved[1], moved[0], what="the step that momentum alone makes", hint=hint)


@pytest.mark.stage(1)
def test_the_schedule_goes_on_where_it_was(rng, path):
    """A cosine from 1.0 over 10 epochs: after 4 of them the next rates are no longer near 1."""

    def schedule():
        optimizer = SGD(nn.Linear(1, 1).parameters(), lr=1.0)
        return optimizer, CosineAnnealingLR(optimizer, T_max=10)

    def rates(optimizer, scheduler, count):
        found = []
        for _ in range(count):
            optimizer.step()
            scheduler.step()
            found.append(optimizer.param_groups[0]["lr"])
        return torch.tensor(found, dtype=torch.float64)

    model, (optimizer, scheduler) = nn.Linear(1, 1), schedule()
    rates(optimizer, scheduler, 4)
    save_checkpoint(path, model=model, optimizer=optimizer, scheduler=scheduler, epoch=4)
    resumed = schedule()
    load_checkpoint(path, model=model, optimizer=resumed[0], scheduler=resumed[1])
    wanted = rates(optimizer, scheduler, 6)
    expect_close(rates(*resumed, 6), wanted, what="the learning rates", hint="save and load scheduler.state_dict()")


@pytest.mark.stage(1)
def test_the_random_stream_goes_on_where_it_was(rng, path):
    """Dropout masks and shuffles after resuming are those that would have come; not the first ones once more."""
    run = Run()
    torch.rand(11)
    save_checkpoint(path, **run.parts, epoch=0)
    wanted = torch.rand(5)
    torch.manual_seed(99)
    load_checkpoint(path, **run.parts)
    hint = "torch.get_rng_state() when saving, torch.set_rng_state() when loading; a seed would restart the stream"
    expect_equal(torch.rand(5), wanted, what="the random numbers after loading", hint=hint)


# Stage 2: crashes, missing and damaged files


@pytest.mark.stage(2)
@pytest.mark.parametrize("kind", [str, Path])
def test_saving_again_replaces_the_file_and_leaves_no_other(rng, path, kind):
    """One checkpoint per path, however often it is saved, and nothing beside it."""
    run = Run()
    for epoch in (1, 2, 3):
        save_checkpoint(kind(path), **run.train(1).parts, epoch=epoch)
        expect_equal(names(path.parent), ["last.pt"], what="the folder after saving", hint="move, do not copy")
    expect_equal(load_checkpoint(kind(path), **Run().parts), 3, what="the epoch that was saved last")


@pytest.mark.stage(2)
def test_who_holds_the_old_file_open_still_reads_it_whole(rng, path, renames):
    """A second name for the old file keeps seeing the old bytes, unless somebody writes into that very file. And every
    folder here is a disk of its own: what comes from elsewhere (the system's temporary folder) is copied, not renamed."""

    def same_disk(source, target):
        if not source.resolve().is_relative_to(target.resolve().parent):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

    run = Run()
    save_checkpoint(path, **run.parts, epoch=1)
    reader = path.parent.parent / "reader"
    os.link(path, reader)
    old = reader.read_bytes()
    renames(same_disk)
    save_checkpoint(path, **run.train(2).parts, epoch=2)
    hint = "write a temporary file in path's own folder, then os.replace it onto path"
    expect(reader.read_bytes() == old, "the old file should not be written to, but it was overwritten", hint=hint)
    expect_equal(load_checkpoint(path, **run.parts), 2, what="the epoch from the new file", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("error", [OSError, Crash])
def test_a_crash_at_the_rename_loses_nothing(rng, path, renames, error):
    """The last moment before the new file takes over. Removing the old one first would leave none at all."""

    def crash(source, target):
        raise error("crash")

    run = Run()
    save_checkpoint(path, **run.parts, epoch=1)
    old = path.read_bytes()
    renames(crash)
    hint = "os.replace(temporary, path) is what puts the new file in place; its error goes on to the caller"
    with expect_raises(error, what="save_checkpoint whose rename fails", hint=hint):
        save_checkpoint(path, **run.train(1).parts, epoch=2)
    kept = path.is_file() and path.read_bytes() == old
    expect(kept, "the old checkpoint should still be there, unharmed, after a rename that failed", hint=hint)
    if error is OSError:
        hint = "remove the temporary file in a `finally` or an `except` that raises again"
        expect_equal(names(path.parent), ["last.pt"], what="the folder after a rename that failed", hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("before", ["an old file", "no file"])
def test_a_full_disk_while_writing_loses_nothing(rng, path, before):
    """torch.save fails midway: whoever opened `path` for writing has destroyed the old checkpoint by now."""
    run = Run()
    if before == "an old file":
        save_checkpoint(path, **run.parts, epoch=1)
    found = {p.name: p.read_bytes() for p in path.parent.iterdir()}
    broken = {**run.parts, "scheduler": FullDisk(run.optimizer, step_size=1)}
    with expect_raises(OSError, what="save_checkpoint on a full disk", hint="do not swallow the error: raise it again"):
        save_checkpoint(path, **broken, epoch=2)
    hint = "write to a temporary file, and remove it when writing fails"
    expect_equal(names(path.parent), sorted(found), what="the folder after a save that failed", hint=hint)
    if found:
        expect(path.read_bytes() == found["last.pt"], "the old checkpoint should be unharmed, but is not", hint=hint)


@pytest.mark.stage(2)
def test_a_missing_file_is_a_file_not_found_error(rng, path):
    """'There is none yet, so start afresh' is a case that callers handle; a damaged file is another one."""
    hint = "let the FileNotFoundError through; only damage becomes a ValueError"
    with expect_raises(FileNotFoundError, what="load_checkpoint without a file", hint=hint):
        load_checkpoint(path, **Run().parts)


@pytest.mark.stage(2)
@pytest.mark.parametrize("damage", ["empty", "cut to 1 byte", "cut in half", "without its end", "garbage"])
def test_a_damaged_file_is_a_value_error(rng, path, damage):
    """torch reports damage as EOFError, RuntimeError, OSError or UnpicklingError, depending on where it is. Callers want
    one error."""
    run = Run().train(1)
    save_checkpoint(path, **run.parts, epoch=1)
    whole = path.read_bytes()
    cuts = {"empty": b"", "cut to 1 byte": whole[:1], "cut in half": whole[: len(whole) // 2]}
    cuts |= {"without its end": whole[:-1], "garbage": bytes(randint(rng, 0, 256, 500).tolist())}
    path.write_bytes(cuts[damage])
    with (
        expect_unchanged(*run.model.state_dict().values(), what="the model", hint="read the whole file first"),
        expect_raises(ValueError, what=f"loading a file that is {damage}", hint="wrap whatever torch.load raises"),
    ):
        load_checkpoint(path, **run.parts)


@pytest.mark.stage(2)
@pytest.mark.parametrize("content", [[1, 2], {}, {"lr": 0.1}, 5, None], ids=repr)
def test_another_file_of_torch_is_a_value_error(rng, path, content):
    """It reads well, but it is no checkpoint. KeyError and TypeError from inside would tell the caller nothing."""
    torch.save(content, path)
    hint = "take what you need out of the file inside the `try`"
    with expect_raises(ValueError, what=f"loading a file that holds {content}", hint=hint):
        load_checkpoint(path, **Run().parts)


@pytest.mark.stage(2)
@pytest.mark.parametrize("lacking", ["optimizer", "scheduler"])
def test_a_part_that_was_not_saved_is_a_value_error_and_changes_nothing(rng, path, lacking):
    """Going on with a fresh optimizer is not resuming; and half a resume is worse than none, so check first."""
    saved, run = Run().train(2), Run()
    save_checkpoint(path, **{**saved.parts, lacking: None}, epoch=2)
    torch.manual_seed(5)
    hint = "look up everything that is asked for before the first load_state_dict"
    with (
        expect_rng_untouched(what="a load that fails", hint=hint),
        expect_unchanged(*run.model.state_dict().values(), what="the model", hint=hint),
        expect_raises(ValueError, what=f"loading without a saved {lacking}", hint=hint),
    ):
        load_checkpoint(path, **run.parts)


@pytest.mark.stage(2)
def test_parts_that_are_not_asked_for_are_ignored(rng, path):
    """Inference needs the weights only, and has no optimizer to fill."""
    run, model = Run().train(2), Run().model
    save_checkpoint(path, **run.parts, epoch=2)
    expect_equal(load_checkpoint(path, model=model), 2, what="the epoch, loaded without an optimizer")
    expect_equal(model[0].weight, run.model[0].weight, what="the weight, loaded without an optimizer")


@pytest.mark.stage(2)
@pytest.mark.parametrize("training", [True, False])
def test_saving_and_loading_leave_the_run_as_it_is(rng, path, training):
    """A checkpoint in the middle of a run must not be felt: modes, weights and the random stream stay."""
    run = Run().train(1)
    run.model.train(training)
    with (
        expect_unchanged(*run.model.state_dict().values(), what="the model"),
        expect_rng_untouched(what="saving and loading", hint="reading the random state draws nothing"),
    ):
        save_checkpoint(path, **run.parts, epoch=1)
        load_checkpoint(path, **run.parts)
    expect_equal(run.model.training, training, what="model.training", hint="the mode is the caller's choice")


@pytest.mark.stage(2)
def test_weights_that_do_not_fit_are_refused(rng, path):
    """A checkpoint of another model loaded with strict=False leaves random weights in place, without a word."""
    save_checkpoint(path, model=nn.Linear(4, 2, bias=False), epoch=1)
    with expect_raises((RuntimeError, ValueError), what="loading into a model with another set of weights"):
        load_checkpoint(path, model=nn.Linear(4, 2))


# Stage 3: dtypes, devices, hostile files


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_every_dtype_comes_back_bit_by_bit(rng, path, dtype):
    """Not through float32, text or numpy, which has no bfloat16."""
    model, fresh = (nn.Linear(3, 5, dtype=dtype) for _ in range(2))
    save_checkpoint(path, model=model, epoch=0)
    load_checkpoint(path, model=fresh)
    expect_equal(fresh.weight, model.weight, what="the weight")


@pytest.mark.stage(3)
@pytest.mark.parametrize("inside", ["alone", "in a dict"])
def test_no_code_in_a_file_is_run(rng, path, inside):
    """Unpickling calls whatever the file names: a downloaded checkpoint is a program. This one would make a folder."""
    bomb = Hostile(path.parent / "hacked")
    state = {"model": Run().model.state_dict(), "epoch": 1, "extra": bomb}
    torch.save(bomb if inside == "alone" else state, path)
    with expect_raises(
        ValueError, what="loading a file that would run code", hint="torch.load(..., weights_only=True)"
    ):
        load_checkpoint(path, model=Run().model)
    path.with_name("plain.pt").write_bytes(pickle.dumps(bomb, protocol=2))  # not even a file of torch
    with expect_raises(ValueError, what="loading a plain pickle", hint="torch.load(..., weights_only=True)"):
        load_checkpoint(path.with_name("plain.pt"), model=Run().model)
    ran = "hacked" in names(path.parent)
    expect(not ran, "the code inside the file should not run, but it did", hint="torch.load(..., weights_only=True)")


@pytest.mark.stage(3)
def test_a_checkpoint_from_a_gpu_loads_on_a_machine_without(rng, path, monkeypatch):
    """The file says 'cuda:0' beside every tensor. torch.load puts them there, and fails, unless map_location says
    otherwise."""
    run, fresh = Run().train(2), Run()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        save_checkpoint(path, **run.parts, epoch=2)
    hint = "pass map_location on to torch.load"
    try:
        load_checkpoint(path, **fresh.parts, map_location="cpu")
    except NotImplementedError:
        raise
    except Exception as error:
        expect(False, f"map_location='cpu' should make a GPU's checkpoint readable, but: {error}"[:300], hint=hint)
    expect_equal(fresh.model[0].weight, run.model[0].weight, what="the weight", hint=hint)


@pytest.mark.stage(3)
def test_map_location_may_be_a_function(rng, path):
    """As for torch.load: it is asked for every storage, with the place where that one was saved."""
    run, places = Run().train(1), []
    save_checkpoint(path, **run.parts, epoch=1)
    load_checkpoint(path, **run.parts, map_location=lambda storage, place: places.append(place) or storage)
    expect_equal(set(places), {"cpu"}, what="the places that map_location was asked about", hint="pass it on as it is")


@pytest.mark.gpu
@pytest.mark.stage(3)
def test_the_random_state_is_restored_whatever_map_location_says(rng, path):
    """The random state is a tensor too, and map_location moves it; torch.set_rng_state wants it on the CPU."""
    model = nn.Linear(3, 2).cuda()
    save_checkpoint(path, model=model, epoch=1)
    wanted = torch.rand(5)
    load_checkpoint(path, model=model, map_location="cuda")
    expect_equal(torch.rand(5), wanted, what="the random numbers after loading to the GPU", hint="state.cpu()")


# Stage 4: cost


@pytest.mark.stage(4)
def test_the_file_holds_every_tensor_once(rng, path):
    """Adam: weights and two moments, 3 times the weights' bytes. More means a pickled model, gradients, or a copy."""
    model = nn.Linear(200, 300)
    optimizer = Adam(model.parameters())
    model(torch.ones(1, 200)).sum().backward()
    optimizer.step()
    save_checkpoint(path, model=model, optimizer=optimizer, epoch=1)
    load_checkpoint(path, model=model, optimizer=optimizer)
    ratio = path.stat().st_size / (3 * sum(p.nbytes for p in model.parameters()))
    what = f"the file should take 1.0 to 1.2 times the bytes of weights and moments, but takes {ratio:.2f} times"
    expect(1 <= ratio <= 1.2, what, hint="the two state_dicts, each once")
