"""One line for any value: bounded, and without a trace in what a test measures."""

import functools
import gc
import weakref
from collections import namedtuple
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from dojo.testing.cost import measure
from dojo.testing.summary import summarise

Point = namedtuple("Point", "x y")


@dataclass
class Result:
    loss: float
    weights: torch.Tensor


class Half(nn.Module):
    """With parameters of its own, and a part."""

    def __init__(self, parameters=1):
        super().__init__()
        self.base = nn.Linear(6, 4)
        for number in range(parameters):
            setattr(self, f"a{number}", nn.Parameter(torch.zeros(2, 6)))


class Counter:
    def __init__(self, best=2):
        self.best = best
        if best < 5:
            self.inner = Counter(best + 1)


class Broken:
    def __repr__(self):
        raise RuntimeError("no text")


def model(x):
    return x


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (torch.tensor([[1.5, 2], [1 / 3, 4]]), "float32 [2, 2] 1.5 2 0.3333 4"),
        (torch.tensor(7), "int64 [] 7"),
        (torch.zeros(0, 4), "float32 [0, 4]"),
        (torch.tensor([True, False]), "bool [2] True False"),
        (torch.tensor([float("nan"), float("-inf")]).half(), "float16 [2] nan -inf"),
        (torch.tensor([1 + 2j]), "complex64 [1] 1+2j"),
        (torch.arange(6).view(2, 3).t(), "int64 [3, 2] 0 3 1 4 2 5"),
        (torch.zeros(3, device="meta"), "float32 [3] on meta"),
        (torch.eye(3).to_sparse(), "float32 [3, 3]"),
        (nn.Parameter(torch.ones(2)), "float32 [2] 1 1"),
        (np.arange(3.0), "numpy float64 [3] 0 1 2"),
        (torch.Generator().manual_seed(12), "Generator(seed 12)"),
        (nn.functional.cross_entropy, "cross_entropy"),
        (torch.relu, "relu"),
        (model, "model"),
        (functools.partial(model, 3), "partial of model"),
        (Half, "Half"),
        (nn.Sequential(nn.Linear(3, 4), nn.ReLU()), "Sequential((0): Linear(in_features=3, out_features=4, bias=True) (1): ReLU())"),
        (Half(), "Half(a0 [2, 6]; (base): Linear(in_features=6, out_features=4, bias=True))"),
        (torch.optim.SGD([torch.ones(1)], lr=0.1), "SGD with lr 0.1"),
        (Point(1, torch.ones(1)), "Point(x=1, y=float32 [1] 1)"),
        (Result(0.123456789, torch.ones(1)), "Result(loss=0.123457, weights=float32 [1] 1)"),
        ({"a": [1, torch.ones(9)]}, "{'a': [1, float32 [9] 1 1 1 ...]}"),
        ([1, [2, [3, [4]]]], "[1, [2, [3, [...]]]]"),
        ((None, "text", 2.0, torch.float16), "(None, 'text', 2, torch.float16)"),
        (Broken(), "<Broken>"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_it_says_what_a_value_is(value, text):
    """Where it is short it is whole."""
    assert summarise(value, 200) == text


def test_a_lambda_is_told_by_its_line():
    """It has no name."""
    assert summarise(lambda x: x).startswith("<lambda> of line ")


def test_an_object_is_told_by_its_attributes():
    """Where its text is only an address."""
    assert summarise(Counter()) == "Counter(best=2, inner=Counter(best=3, inner=Counter(best=4 ..."
    assert summarise(DataLoader([1], batch_size=7), 400).startswith("DataLoader(dataset=[1], num_workers=0, ")
    assert summarise(object()) == "<object>"


@pytest.mark.parametrize(
    "value",
    [
        torch.rand(4000, 5000).t(),
        torch.zeros(1).expand(10**9),
        [torch.ones(100)] * 1000,
        {str(number): number for number in range(1000)},
        "x" * 10**6,
        10**4000,
        nn.Sequential(*(nn.Linear(2, 2) for _ in range(100))),
        Half(parameters=30),
        "no_blank" * 50,
        list(range(10**5)),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("width", [76, 20, 5])
def test_it_fits_a_line(value, width):
    """Whatever it is. Of a huge tensor only the first elements are read."""
    text = summarise(value, width)
    assert len(text) <= width
    assert "\n" not in text


def test_a_number_is_not_cut():
    """Half of it would be another one."""
    text = summarise(torch.full((30,), 123.4), 40)
    assert text.split()[-1] == "..."
    assert set(text.split()[2:-1]) == {"123.4"}


def test_it_leaves_no_trace(recwarn):
    """No operator is counted, no random stream moves, nothing is kept alive."""
    x = torch.ones(3, requires_grad=True) * 2
    before = torch.random.get_rng_state()
    with measure() as spent:
        summarise({"x": x, "list": [x], "layer": Half})
    assert spent.operators == 0
    assert torch.equal(before, torch.random.get_rng_state())
    gone = weakref.ref(x)
    del x
    gc.collect()
    assert gone() is None
    assert not recwarn.list
