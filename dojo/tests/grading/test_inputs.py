"""What reaches the sandbox is what the probe drew: the same values of the same types, or a refusal that names the value."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from dojo.core.catalog import load_catalog
from dojo.core.paths import find_checkout
from dojo.testing import codec, probes
from dojo.testing.codec_decode import decode_frame

CHECKOUT = find_checkout(Path(__file__).parent)
KATAS = [kata.name for kata in load_catalog(CHECKOUT).katas]
INPUTS = codec.Limits(inputs=True)


def identical(a, b):
    """Whether `b` has the type, the values and, for a tensor, the layout of `a`, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, Tensor):
        layout = a.dtype == b.dtype and a.shape == b.shape and a.stride() == b.stride()
        return layout and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(identical(a[key], b[key]) for key in a)
    return a == b or (a != a and b != b)


@pytest.mark.parametrize("kata", KATAS)
def test_every_input_of_every_kata_arrives_as_it_was_drawn(kata):
    """A pair of bounds is a tuple and a choice of options is a list: one for the other is another question."""
    for seed in (0, 2**53 + 1):
        for case in probes.cases(probes.load_probe(CHECKOUT.probe(kata)), seed):
            assert identical(vars(case), decode_frame(codec.encode_exactly(vars(case)), INPUTS)), case.name


@pytest.mark.parametrize(
    "value",
    [
        (1, (2.5, [None, ("a",)])),
        {"space": {"x": (0, 1), "k": [0, 1]}},
        [(), [], {}, "", b"", True, -(2**100), float("inf"), torch.bfloat16],
        torch.arange(10.0)[::3],
        torch.arange(12).reshape(3, 4).T,
        torch.randn(3, 1).expand(3, 5),
        torch.empty(0, 3),
    ],
)
def test_types_that_travel_come_back_as_they_were(value):
    assert identical(value, decode_frame(codec.encode_exactly(value), INPUTS))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({1, 2}, "set"),
        ([3, (4, 1j)], "complex"),
        ({0: "key"}, "dict"),
        ({"a": range(3)}, "range"),
        (nn.Parameter(torch.zeros(2)), "Parameter"),
        (torch.zeros(2, requires_grad=True), "Tensor"),
        (torch.eye(2).to_sparse(), "Tensor"),
        ("x" * (codec.Limits.text + 1), "str"),
        (2**201, "int"),
        (len, "builtin_function_or_method"),
    ],
)
def test_a_value_that_would_arrive_as_another_one_is_refused(value, kind):
    """The message names it, so that the probe can be mended."""
    with pytest.raises(codec.NotExact, match=f"a {kind} cannot be sent as it is: "):
        codec.encode_exactly({"input": value})


@pytest.mark.parametrize("value", [(1, 2), torch.arange(6)[::2]])
def test_a_worker_can_send_neither_tuples_nor_views(value):
    """A view of a small tensor may have a trillion elements; the grader would have to compare them."""
    with pytest.raises(codec.ProtocolError):
        decode_frame(codec.encode_exactly(value))
