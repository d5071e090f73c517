"""Stage 2. Crashes, missing and damaged files."""

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import StepLR

from dojo.testing import expect, expect_equal, expect_raises, expect_rng_untouched, expect_unchanged, randint
from katas.checkpointing import load_checkpoint, save_checkpoint

from .helpers import Run, names


class Crash(BaseException):
    """The process dies here: no `except Exception` runs."""


class Unwritable:
    """The disk is full just when this is written."""

    def __reduce__(self):
        raise OSError(errno.ENOSPC, "No space left on device")


class FullDisk(StepLR):
    def state_dict(self):
        return {**super().state_dict(), "extra": Unwritable()}


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


@pytest.mark.parametrize("kind", [str, Path])
def test_saving_again_replaces_the_file_and_leaves_no_other(rng, path, kind):
    """One checkpoint per path, however often it is saved, and nothing beside it."""
    run = Run()
    for epoch in (1, 2, 3):
        save_checkpoint(kind(path), **run.train(1).parts, epoch=epoch)
        expect_equal(names(path.parent), ["last.pt"], what="the folder after saving", hint="move, do not copy")
    expect_equal(load_checkpoint(kind(path), **Run().parts), 3, what="the epoch that was saved last")


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


def test_a_missing_file_is_a_file_not_found_error(rng, path):
    """'There is none yet, so start afresh' is a case that callers handle; a damaged file is another one."""
    hint = "let the FileNotFoundError through; only damage becomes a ValueError"
    with expect_raises(FileNotFoundError, what="load_checkpoint without a file", hint=hint):
        load_checkpoint(path, **Run().parts)


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


@pytest.mark.parametrize("content", [[1, 2], {}, {"lr": 0.1}, 5, None], ids=repr)
def test_another_file_of_torch_is_a_value_error(rng, path, content):
    """It reads well, but it is no checkpoint. KeyError and TypeError from inside would tell the caller nothing."""
    torch.save(content, path)
    hint = "take what you need out of the file inside the `try`"
    with expect_raises(ValueError, what=f"loading a file that holds {content}", hint=hint):
        load_checkpoint(path, **Run().parts)


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


def test_parts_that_are_not_asked_for_are_ignored(rng, path):
    """Inference needs the weights only, and has no optimizer to fill."""
    run, model = Run().train(2), Run().model
    save_checkpoint(path, **run.parts, epoch=2)
    expect_equal(load_checkpoint(path, model=model), 2, what="the epoch, loaded without an optimizer")
    expect_equal(model[0].weight, run.model[0].weight, what="the weight, loaded without an optimizer")


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


def test_weights_that_do_not_fit_are_refused(rng, path):
    """A checkpoint of another model loaded with strict=False leaves random weights in place, without a word."""
    save_checkpoint(path, model=nn.Linear(4, 2, bias=False), epoch=1)
    with expect_raises((RuntimeError, ValueError), what="loading into a model with another set of weights"):
        load_checkpoint(path, model=nn.Linear(4, 2))
