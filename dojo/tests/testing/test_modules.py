"""Weights that are set by hand, and what a module or a graph keeps alive."""

import gc
import weakref

import pytest
import torch
from torch import nn

from dojo.testing import Wrong, seeded
from dojo.testing.modules import Traced, bytes_held, expect_parameters, fill, fill_at_random, set_weights


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.to_q, self.to_out = nn.Linear(2, 3, bias=False), nn.Linear(3, 2)


class Token:
    """Something that a weak reference can refer to."""


SHAPES = {"to_q.weight": [3, 2], "to_out.weight": [2, 3], "to_out.bias": [2]}


def without_bias(layer):
    layer.to_out.bias = None


def in_float64(layer):
    layer.to_q.double()


FAULTS = {
    "to_q.bias [3] is one too many": lambda layer: setattr(layer, "to_q", nn.Linear(2, 3)),
    "to_q.weight should have shape [3, 2], but has [3, 1]": lambda layer: setattr(
        layer, "to_q", nn.Linear(1, 3, False)
    ),
    "to_out.bias [2] is missing": without_bias,
    "to_q.weight [3, 2] is missing": lambda layer: delattr(layer, "to_q"),
    "to_q.weight should have dtype torch.float32, but has torch.float64": in_float64,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_structural_fault_is_told_as_such(fault):
    """Which parameter it is, and what it should be; a long list of all of them would be cut where it matters."""
    layer = Layer()
    expect_parameters(layer, SHAPES, what="Layer()")
    FAULTS[fault](layer)
    with pytest.raises(Wrong) as error:
        expect_parameters(layer, SHAPES, what="Layer()", hint="bias=False")
    assert str(error.value) == f"Layer() should have other parameters: {fault}\nhint: bias=False"


def test_what_stands_in_a_parameters_place_is_told():
    """A layer instead of a matrix, or a plain tensor that no optimizer finds."""
    layer = nn.Module()
    layer.lora_A, layer.lora_B = nn.Linear(2, 3, bias=False), torch.zeros(2, 3)
    with pytest.raises(Wrong) as error:
        expect_parameters(layer, {"lora_A": [3, 2], "lora_B": [2, 3]}, what="the layer")
    assert str(error.value) == (
        "the layer should have other parameters: lora_A [3, 2] is no nn.Parameter, but a Linear; "
        "lora_B [2, 3] is no nn.Parameter, but a Tensor"
    )
    with pytest.raises(Wrong, match=r"lora_A should be an nn\.Parameter, but is a Linear"):
        fill(layer.lora_A, 0.0, what="lora_A")
    with pytest.raises(Wrong, match=r"the layer should have other parameters: to_k\.weight is missing"):
        set_weights(Layer(), to_k=1.0)


def test_a_parameter_is_filled_in_place():
    """It stays the same object, a leaf, and of its dtype."""
    parameter = nn.Parameter(torch.zeros(2, 2, dtype=torch.float16))
    memory = parameter.data_ptr()
    fill(parameter, [[1, 2], [3, 4]])
    assert parameter.tolist() == [[1, 2], [3, 4]]
    assert (parameter.is_leaf, parameter.dtype, parameter.data_ptr()) == (True, torch.float16, memory)
    fill(parameter, 7.0)
    assert parameter.tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize("shape", [(3, 2), (2, 2, 3), (2,)])
def test_another_shape_is_a_sentence(shape):
    """For a learner's parameter of the wrong shape torch has only a RuntimeError."""
    with pytest.raises(Wrong) as error:
        fill(nn.Parameter(torch.zeros(2, 3)), torch.zeros(shape), what="lora_A", hint="[rank, in]")
    assert str(error.value) == f"lora_A should have shape {list(shape)}, but has [2, 3]\nhint: [rank, in]"


def test_weights_are_set_by_the_names_of_projections():
    """`bias` is to_out's; the layer is given back."""
    layer = Layer()
    assert set_weights(layer, to_q=1.0, to_out=torch.full((2, 3), 2.0), bias=[3.0, 4.0]) is layer
    assert layer.to_q.weight.unique().tolist() == [1.0]
    assert layer.to_out.weight.unique().tolist() == [2.0]
    assert layer.to_out.bias.tolist() == [3.0, 4.0]
    with pytest.raises(Wrong, match=r"to_q\.weight should have shape"):
        set_weights(layer, to_q=torch.zeros(2, 3))


def test_random_weights_repeat_and_have_their_size():
    """And no zeros are left."""
    one, same = nn.Linear(100, 100), nn.Linear(100, 100)
    for layer in (one, same):
        nn.init.zeros_(layer.weight)
        fill_at_random(layer.parameters(), seeded(0), 0.5)
    assert torch.equal(one.weight, same.weight)
    assert (one.weight != 0).all()
    assert one.weight.std().item() == pytest.approx(0.5, rel=0.1)


def test_a_token_lives_as_long_as_the_graph():
    """Values and gradients pass through."""
    token = Token()
    alive = weakref.ref(token)
    x = torch.ones(2, requires_grad=True)
    y = Traced.apply(x, token) * 3
    del token
    assert alive() is not None
    y.sum().backward()
    assert x.grad.tolist() == [3.0, 3.0]
    del y
    gc.collect()
    assert alive() is None


def test_the_bytes_that_a_layer_holds():
    """Of its parameters and of what hides in attributes, containers and closures; a view and its base are one memory."""
    layer = Layer()
    assert bytes_held(layer) == 4 * (6 + 6 + 2)
    base = torch.zeros(10)
    layer.kept = [base, {"view": base[2:4]}]
    layer.itself = layer
    assert bytes_held(layer) == 4 * (6 + 6 + 2 + 10)
    layer.later = lambda: base.double() + extra
    extra = torch.zeros(5, dtype=torch.float64)
    assert bytes_held(layer) == 4 * (6 + 6 + 2 + 10) + 8 * 5
    assert bytes_held(Layer) == 0
