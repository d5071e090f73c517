"""Argument checks are the last tests of stage 2: nobody is told about them first while the core is wrong."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
KATAS = sorted(folder for folder in (ROOT / "tests").iterdir() if (folder / "kata.toml").is_file())
SUBJECTS = {"checkpointing", "choosing_conditioning"}  # what these two katas refuse is what they are about


def called(test: ast.FunctionDef) -> set[str]:
    """The checks that a test calls."""
    names = {node.func.id for node in ast.walk(test) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    return {name for name in names if name == "expect" or name.startswith("expect_")}


def argument_checks(file: Path) -> list[bool]:
    """Of each test in the file, in its order, whether errors are all that it asks for."""
    tests = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    return [called(test) == {"expect_raises"} for test in tests if test.name.startswith("test_")]


@pytest.mark.parametrize("folder", KATAS, ids=lambda folder: folder.name)
def test_argument_checks_are_the_last_tests_of_stage_2(folder):
    for file in sorted(folder.glob("test_*.py")):
        checks = argument_checks(file)
        if folder.name in SUBJECTS:
            continue
        if file.name == "test_2_edges.py":
            assert checks == sorted(checks), f"{file.name}: move the tests that only ask for errors to its end"
        else:
            assert not any(checks), f"{file.name}: tests that only ask for errors belong at the end of test_2_edges.py"


def test_a_check_among_other_tests_is_seen(tmp_path):
    """What the test above looks for."""
    file = tmp_path / "test_2_edges.py"
    file.write_text(
        "def test_a():\n    with expect_raises(ValueError):\n        pass\n\ndef test_b():\n    expect_equal(1, 1)\n"
    )
    assert argument_checks(file) == [True, False]
