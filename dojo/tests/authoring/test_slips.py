"""The plainest wrong results, given by each function in turn."""

import pytest

from dojo.authoring.verify.slips import is_raw_error, slips

SOURCE = '''\
import torch
from jaxtyping import Float
from torch import Tensor, nn


def scale(x: Float[Tensor, "n"], /, by: float, *more: float, power: int = 1) -> Float[Tensor, "n"]:
    """x by `by`."""
    # kata: begin
    return x * by**power * sum(more, 1.0)
    # kata: end


def count(x: list) -> int:
    # kata: begin
    return len(x)
    # kata: end


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        # kata: begin
        self.weight = nn.Parameter(torch.ones(3))
        # kata: end

    def forward(self, x: Tensor) -> tuple[Tensor, int]:
        # kata: begin
        return self.weight * x, 2
        # kata: end
'''


def functions(what):
    """What the source of one slip defines."""
    (source,) = [slip.source for slip in slips(SOURCE, "tiny") if slip.what == what]
    scope = {}
    exec(source, scope)
    return scope


def test_every_function_gets_every_result_that_its_signature_can_show():
    """Only functions of tensors return other shapes and dtypes."""
    assert [slip.what for slip in slips(SOURCE, "tiny")] == [
        *[f"scale returns {what}" for what in ("None", "a number", "a list")],
        "scale returns a tensor of another shape",
        "scale returns a tensor of another dtype",
        *[f"count returns {what}" for what in ("None", "a number", "a list")],
        "Layer has no parameters and no submodules",
        *[f"Layer.forward returns {what}" for what in ("None", "a number", "a list")],
        "Layer.forward returns a tensor of another shape",
        "Layer.forward returns a tensor of another dtype",
    ]


def test_the_slips_do_what_they_say():
    """And leave every other function as it was."""
    torch = pytest.importorskip("torch")
    x = torch.ones(3)
    assert functions("scale returns None")["scale"](x, 2) is None
    assert functions("count returns a list")["count"]([1]) == [1.0]
    scope = functions("scale returns a tensor of another shape")
    assert torch.equal(scope["scale"](x, 2, 3, power=2), torch.full((1, 3), 16.0))
    assert scope["count"]([1, 2]) == 2
    tensor, number = functions("Layer.forward returns a tensor of another dtype")["Layer"]()(x)
    assert (tensor.dtype, number) == (torch.complex64, 2)
    assert not list(functions("Layer has no parameters and no submodules")["Layer"]().parameters())


@pytest.mark.parametrize(
    ("message", "raw"),
    [
        ("TypeError: unhashable type: 'list'", True),
        ("torch.cuda.OutOfMemoryError: no", False),
        ("RuntimeError", True),
        ("StopIteration", True),
        ("double(2) should be 4, but is None", False),
        ("katas/tiny.py, line 3, raised TypeError: no", False),
    ],
)
def test_a_raw_error_is_told_from_a_sentence(message, raw):
    """By its first word."""
    assert is_raw_error(message) is raw
