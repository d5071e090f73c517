"""A test that stops with an error of its own says which result of the learner's it could not use."""

import subprocess

import pytest

from dojo.tests.checkouts import pytest_in
from dojo.tests.cli.commands import environment, program

KATA = """\
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn


def sample(logits: Float[Tensor, "*batch vocab"]) -> Int64[Tensor, "*batch"]:
    {sample}


def pair(x: int) -> tuple[int, float]:
    {pair}


def untyped(x):
    return x


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        {layer}

    def forward(self, x: Float[Tensor, "batch n"]) -> Float[Tensor, "batch n"]:
        {forward}

    def check(self, x: int) -> int:
        if x < 0:
            raise ValueError("below 0")
        return x
"""
RIGHT = {
    "sample": "return logits.argmax(-1)",
    "pair": "return x, 0.5",
    "layer": "self.weight = nn.Parameter(torch.ones(2))",
    "forward": "return self.weight * x",
}

TESTS = '''\
import torch

from katas.tiny import Layer, pair, sample, untyped


def test_samples():
    """Each is one token."""
    assert {token for token in sample(torch.eye(3)).tolist()} == {0, 1, 2}


def test_pair():
    first, second = pair(2)
    assert first + 1 == 3 and second * 2 == 1


def test_layer():
    layer = Layer()
    try:
        layer.check(-1)
    except ValueError:
        pass
    assert layer(torch.ones(1, 2)).sum().item() + layer.weight.sum().item() == 4


def test_untyped():
    assert untyped([3])[0] == 3


def test_of_nothing():
    assert [].no_such_attribute


def test_own_assertion():
    assert pair(2) == (3, 0.5), "a pair"
'''


def message(checkout, test, **changes):
    """What a run says of one test where the kata is right but for `changes`."""
    for file in checkout.test_files("tiny"):
        file.unlink()
    (checkout.tests("tiny") / "test_1_core.py").write_text(TESTS)
    checkout.answer("tiny").write_text(KATA.format(**{**RIGHT, **changes}))
    return pytest_in(checkout, "--no-naming").message(test)


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("return None", 'sample returned None for logits [3, 3], should be Int64[Tensor, "*batch"]'),
        ("return 0.5", 'sample returned 0.5 for logits [3, 3], should be Int64[Tensor, "*batch"]'),
        ("return [[1, 2], [0, 3]]", "sample returned [[1, 2], [0, 3]] for logits [3, 3], should be"),
        (
            "return logits.argmax(-1, keepdim=True)",
            "sample returned a tensor of shape [3, 1] and dtype torch.int64 for logits [3, 3], should be",
        ),
    ],
)
def test_a_result_that_does_not_fit_its_signature_is_told(checkout, result, sentence):
    """Not "unhashable type: 'list'", which is the test's own error; that comes last, with why the test is there."""
    told = message(checkout, "test_samples", sample=result)
    assert told.startswith(sentence)
    assert "\nThe test could not go on with it (" in told
    assert told.endswith("\nwhy it is tested: Each is one token.")


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        ("return x", "pair returned 2, should be tuple[int, float]"),
        ("return [x, None]", "pair returned [2, None], should be tuple[int, float]"),
        ("return x, None", "pair returned (2, None), should be tuple[int, float]"),
        ("return x, 0.5, 1", "pair returned (2, 0.5, 1), should be tuple[int, float]"),
    ],
)
def test_parts_of_a_tuple_are_looked_at(checkout, result, sentence):
    """A whole number counts as a float."""
    assert message(checkout, "test_pair", pair=result).startswith(sentence)


def test_an_exception_that_a_test_expects_is_no_result(checkout):
    """`check` ends without a value and fits its signature; `forward` is the culprit."""
    told = message(checkout, "test_layer", forward="return None")
    assert told.startswith('Layer.forward returned None for x [1, 2], should be Float[Tensor, "batch n"]')


def test_a_missing_attribute_is_told_by_its_class(checkout):
    """As of a module without parameters."""
    told = message(checkout, "test_layer", layer="self.w = 1", forward="return x")
    assert told.startswith("Layer has no attribute `weight`, which its tests read")


def test_without_a_signature_the_last_result_is_told(checkout):
    """It is the likeliest."""
    text = KATA.replace("def untyped(x):\n    return x", "def untyped(x):\n    return None")
    message(checkout, "test_samples")
    checkout.answer("tiny").write_text(text.format(**RIGHT))
    session = pytest_in(checkout, "--no-naming")
    assert session.message("test_untyped").startswith(
        "untyped returned None\nThe test could not go on with it (TypeErr"
    )


def test_a_result_that_fits_is_not_blamed_for_its_type(checkout):
    """The test's own assertion says what it expects."""
    assert message(checkout, "test_own_assertion").startswith("AssertionError: a pair")


def test_after_a_debugger_the_test_is_not_run_again(checkout):
    """It would stop at the same breakpoint(), where no keys arrive."""
    message(checkout, "test_samples", sample="breakpoint()\n    return None")
    log = checkout.root / "log"
    with log.open("w") as file:
        command = program("test", "tiny", "-x")
        run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, env=environment(), text=True)
    run.stdin.write("c\n")
    run.stdin.flush()  # and stays open, as a keyboard does
    try:
        assert run.wait(timeout=60) == 1
    finally:
        run.kill()
        run.stdin.close()
    assert "AttributeError: 'NoneType' object has no attribute 'tolist'" in log.read_text()


def test_where_no_function_was_called_the_error_stands_alone(checkout):
    """A fault of the test's."""
    assert message(checkout, "test_of_nothing").startswith("AttributeError: 'list' object has no attribute")


def test_an_axis_that_cannot_be_computed_is_no_complaint():
    """`n+k` where k is a number among the arguments: jaxtyping knows axes alone, and raises an error of its own."""
    import torch
    from jaxtyping import Float
    from torch import Tensor

    from dojo.engine.returned import fits

    assert fits(torch.ones(2, 3), Float[Tensor, "batch n+k"])
    assert not fits(torch.ones(2, 3), Float[Tensor, "batch"])
