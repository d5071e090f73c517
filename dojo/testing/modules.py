"""The parameters that a module has, weights that are set by hand, and what a module or a graph keeps alive."""

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dojo.testing.checks import expect
from dojo.testing.sampling import randn

Layer = TypeVar("Layer", bound=nn.Module)


def expect_parameters(
    module: nn.Module,
    shapes: Mapping[str, Sequence[int]],
    *,
    what: str,
    hint: str = "",
    dtype: torch.dtype = torch.float32,
) -> None:
    """`module` has exactly the parameters that `shapes` names, with these shapes and this dtype; says which are wrong.

    The first test of a module, before any number is compared: a bias too many shifts every number, and says so in none.
    """
    own = dict(module.named_parameters(remove_duplicate=False))
    faults = [_absence(module, name, f"{name} {list(shape)}") for name, shape in shapes.items() if name not in own]
    for name, parameter in own.items():
        if name not in shapes:
            if not any(name.startswith(f"{wanted}.") for wanted in shapes):  # of a layer in a parameter's place
                faults.append(f"{name} {list(parameter.shape)} is one too many")
        elif parameter.shape != torch.Size(shapes[name]):
            faults.append(f"{name} should have shape {list(shapes[name])}, but has {list(parameter.shape)}")
        elif parameter.dtype != dtype:
            faults.append(f"{name} should have dtype {dtype}, but has {parameter.dtype}")
    expect(not faults, f"{what} should have other parameters: {'; '.join(faults)}", hint=hint)


def _absence(module: nn.Module, name: str, what: str) -> str:
    try:
        value = attrgetter(name)(module)
    except AttributeError:
        value = None
    return f"{what} is missing" if value is None else f"{what} is no nn.Parameter, but a {type(value).__name__}"


def fill(parameter: Tensor, values: Any, *, what: str = "the parameter", hint: str = "") -> None:
    """Overwrites a parameter in place, as loading a checkpoint does. `values` have its shape, or broadcast to it."""
    values = torch.as_tensor(values)
    expect(
        isinstance(parameter, Tensor),
        f"{what} should be an nn.Parameter, but is a {type(parameter).__name__}",
        hint=hint,
    )
    fits = values.dim() <= parameter.dim() and all(
        size in (1, own) for size, own in zip(values.shape[::-1], parameter.shape[::-1], strict=False)
    )
    expect(fits, f"{what} should have shape {list(values.shape)}, but has {list(parameter.shape)}", hint=hint)
    with torch.no_grad():
        parameter.copy_(values)


def set_weights(layer: Layer, **weights: Any) -> Layer:
    """The attention layer, its projections' weights overwritten by their names (to_q=...); `bias` is that of to_out."""
    own = dict(layer.named_parameters())
    for name, values in weights.items():
        full_name = "to_out.bias" if name == "bias" else f"{name}.weight"
        expect(full_name in own, f"the layer should have other parameters: {_absence(layer, full_name, full_name)}")
        fill(own[full_name], values, what=full_name)
    return layer


def fill_at_random(parameters: Iterable[nn.Parameter], rng: torch.Generator, size: float = 1.0) -> None:
    """Overwrites parameters with normal numbers of this size: a module in the middle of its training has no zeros."""
    for parameter in parameters:
        fill(parameter, size * randn(rng, *parameter.shape))


def bytes_held(thing: Any) -> int:
    """Bytes of all tensors that can be reached from an object by its attributes, what they contain and what they close over.

    Memory that several tensors share counts once. The parts of classes do not count.
    """
    return _bytes_held(thing, set())


def _bytes_held(thing: Any, seen: set[Any]) -> int:
    key = thing.untyped_storage()._cdata if isinstance(thing, Tensor) else id(thing)
    if key in seen or isinstance(thing, type):
        return 0
    seen.add(key)
    if isinstance(thing, Tensor):
        return thing.untyped_storage().nbytes()
    parts = list(thing.values()) if isinstance(thing, dict) else list(thing) if isinstance(thing, list | tuple) else []
    parts += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    return sum(_bytes_held(part, seen) for part in [*parts, *getattr(thing, "__dict__", {}).values()])


class Traced(torch.autograd.Function):
    """`Traced.apply(x, token)` is x; the node that it adds to the graph holds `token`, which lives as long as the node."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, token: Any) -> Tensor:
        ctx.token = token
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return *grads, None
