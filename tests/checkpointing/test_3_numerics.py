"""Stage 3. Dtypes, devices, hostile files."""

import os
import pickle

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, expect, expect_equal, expect_raises
from katas.checkpointing import load_checkpoint, save_checkpoint

from .helpers import Run, names


class Hostile:
    """Unpickling this makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_dtype_comes_back_bit_by_bit(rng, path, dtype):
    """Not through float32, text or numpy, which has no bfloat16."""
    model, fresh = (nn.Linear(3, 5, dtype=dtype) for _ in range(2))
    save_checkpoint(path, model=model, epoch=0)
    load_checkpoint(path, model=fresh)
    expect_equal(fresh.weight, model.weight, what="the weight")


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


def test_map_location_may_be_a_function(rng, path):
    """As for torch.load: it is asked for every storage, with the place where that one was saved."""
    run, places = Run().train(1), []
    save_checkpoint(path, **run.parts, epoch=1)
    load_checkpoint(path, **run.parts, map_location=lambda storage, place: places.append(place) or storage)
    expect_equal(set(places), {"cpu"}, what="the places that map_location was asked about", hint="pass it on as it is")


@pytest.mark.gpu
def test_the_random_state_is_restored_whatever_map_location_says(rng, path):
    """The random state is a tensor too, and map_location moves it; torch.set_rng_state wants it on the CPU."""
    model = nn.Linear(3, 2).cuda()
    save_checkpoint(path, model=model, epoch=1)
    wanted = torch.rand(5)
    load_checkpoint(path, model=model, map_location="cuda")
    expect_equal(torch.rand(5), wanted, what="the random numbers after loading to the GPU", hint="state.cpu()")
