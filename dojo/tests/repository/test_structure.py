"""The trainer's structure, beside the contracts that `lint-imports` checks: every room is in them, and modules are short."""

import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[3]
MAX_LINES = 300
MODULES = sorted(file for file in (ROOT / "dojo").rglob("*.py") if (ROOT / "dojo" / "tests") not in file.parents)
ROOMS = sorted(folder.name for folder in (ROOT / "dojo").iterdir() if (folder / "__init__.py").is_file())


def test_the_contract_names_every_room():
    """In this order; a room that is missing in it could be imported by anything."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    assert settings["exclude_type_checking_imports"] is False
    layers = next(contract for contract in settings["contracts"] if contract["type"] == "layers")
    middle = ["notebook | tutor | room", "practice | authoring | grading", "engine"]
    assert layers["layers"] == ["cli", *middle, "progress | testing", "core"]
    assert sorted(" | ".join(layers["layers"]).split(" | ")) == ROOMS


def test_modules_form_no_circle():
    """Not by late imports, not for types, and not through a package's `__init__`. CycleError names the circle."""
    graph = grimp.build_graph("dojo", cache_dir=None)
    sorter = TopologicalSorter({module: graph.find_modules_directly_imported_by(module) for module in graph.modules})
    sorter.prepare()


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_is_at_most_300_lines(module):
    """A longer one does two things: split it where they part."""
    assert len(module.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


@pytest.mark.parametrize("module", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_module_says_what_it_is_for(module):
    """In a docstring, and not in the words that a tool left there."""
    first = module.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith('"""')
    assert "TODO" not in first
