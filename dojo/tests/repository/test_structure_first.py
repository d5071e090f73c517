"""Tests of which parameters a module has stand before those that compare numbers: an extra bias shifts every number."""

import ast
from pathlib import Path

import pytest

from dojo.tests.repository.test_argument_checks import KATAS, called

BUILT_BY_THE_LEARNER = {"controlnet_block", "controlnet_unet", "cross_attention", "ip_adapter", "lora_linear"}
OTHER_STRUCTURE = {"controlnet_unet"}  # its hint may be any module, so its parts are counted and not its parameters


def structural(file: Path) -> list[bool]:
    """Of each test in the file that either asks for parameters or compares numbers, in its order, whether it does the first."""
    tests = [node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)]
    checks = [called(test) for test in tests if test.name.startswith("test_")]
    return ["expect_parameters" in names for names in checks if names & {"expect_parameters", "expect_close"}]


@pytest.mark.parametrize("folder", KATAS, ids=lambda folder: folder.name)
def test_parameters_are_tested_before_numbers(folder):
    order = structural(folder / "test_1_core.py")
    if folder.name in BUILT_BY_THE_LEARNER - OTHER_STRUCTURE:
        assert any(order), "test the module's parameters with expect_parameters"
    if folder.name == "controlnet_block":
        order = order[1:]  # the zero convolution is a part of its own, and comes first
    assert order == sorted(order, reverse=True), "move the tests of parameters to the front"


def test_a_number_before_the_parameters_is_seen(tmp_path):
    """What the test above looks for."""
    file = tmp_path / "test_1_core.py"
    file.write_text(
        "def test_a():\n    expect_close(1, 1)\n\ndef test_b():\n    expect_parameters(1, {})\n\n"
        "def test_c():\n    expect(1)\n"
    )
    assert structural(file) == [False, True]
