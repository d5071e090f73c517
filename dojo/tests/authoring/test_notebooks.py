"""Notebooks: built from text, against the reference, to the same bytes every time; stale ones are reported."""

import json
import sys

import pytest

from dojo.authoring import notebooks
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.engine.processes import children

for library in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(library, reason="needs the `notebooks` extra")

SOURCE = """\
# %% [markdown]
# # Tiny

# %%
# NBVAL_CHECK_OUTPUT
import sys

from katas.tiny import answer

print(answer(), sys.executable)
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one notebook, and a kata whose stub and reference differ."""
    files = {
        "katas/__init__.py": "import os\n__path__ = [os.environ['KATAS_DIR']]\n",
        "katas/tiny.py": "def answer():\n    raise NotImplementedError\n",
        "solutions/tiny.py": "def answer():\n    return 42\n",
        "notebooks/tiny.py": SOURCE,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Checkout(tmp_path)


def test_a_notebook_runs_the_reference_in_this_interpreter_and_builds_to_the_same_bytes(checkout):
    """Otherwise every build would be a change to commit."""
    assert notebooks.build_all(checkout, check=False) == ["notebooks/tiny.ipynb written."]
    first = (checkout.root / "notebooks/tiny.ipynb").read_bytes()
    assert json.loads(first)["cells"][1]["outputs"][0]["text"] == [f"42 {sys.executable}\n"]
    notebooks.build(checkout.root / "notebooks/tiny.py")
    assert (checkout.root / "notebooks/tiny.ipynb").read_bytes() == first
    assert notebooks.build_all(checkout, check=True) == []


def test_no_kernel_is_left(checkout):
    """One would stay until this process ends, with torch in its memory."""
    before = set(children())
    notebooks.build(checkout.root / "notebooks/tiny.py")
    assert set(children()) <= before


def test_check_reports_a_notebook_that_is_missing_or_older_than_its_source(checkout):
    """Outputs are not compared: a picture may differ between versions of matplotlib."""
    source = checkout.root / "notebooks/tiny.py"
    assert "does not exist" in notebooks.build_all(checkout, check=True)[0]
    notebooks.build(source)
    built = source.with_suffix(".ipynb")
    built.write_text(built.read_text().replace("42", "43"))
    assert notebooks.check(source)
    source.write_text(SOURCE + "print('more')\n")
    assert not notebooks.check(source)
    assert "kata dev notebooks" in notebooks.build_all(checkout, check=True)[0]


def test_a_cell_that_fails_is_a_sentence(checkout):
    """No notebook is written."""
    source = checkout.root / "notebooks/tiny.py"
    source.write_text(SOURCE + "\nanswer('too much')\n")
    with pytest.raises(UserError, match=r"notebooks/tiny.py does not run: TypeError"):
        notebooks.build(source)
    assert not source.with_suffix(".ipynb").exists()
