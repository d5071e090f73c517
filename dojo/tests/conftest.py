"""Fixtures of the trainer's own tests."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process whose torch has used several threads cannot fork safely
os.environ["KATA_LANG"] = "en"  # whatever the machine speaks

import pytest

from dojo.core.catalog import Catalog, load_catalog
from dojo.core.paths import Checkout
from dojo.progress.database import tell_of_damage
from dojo.tests import checkouts


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Checkout:
    """A checkout with one kata, `tiny`, as the learner gets it; also the current folder."""
    tell_of_damage()  # of the histories that earlier tests have damaged
    checkout = checkouts.make_checkout(tmp_path / "checkout")
    checkouts.add_kata(checkout)
    monkeypatch.chdir(checkout.root)
    for variable in ("KATAS_DIR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(variable, raising=False)
    return checkout


@pytest.fixture
def catalog(checkout) -> Catalog:
    """The catalogue of `checkout`."""
    return load_catalog(checkout)
