"""One line for any value, however large it is: a tensor's dtype, shape and first elements, a module's structure."""

import functools
import math
import re
import reprlib
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from dojo.core.humanize import count, cut

FIRST_ELEMENTS, FIRST_ELEMENTS_INSIDE = 24, 3  # of a tensor, and of one in a list or dict
ADDRESS = re.compile(r" (object|instance)? ?at 0x[0-9a-f]+")  # which says nothing
MAX_PARAMETERS = 8  # of a module, that are named
MAX_SOURCE_CHARS = 2000  # of a module's repr, which is cut to a line


def summarise(value: Any, width: int = 76) -> str:
    """`value` in at most `width` characters. Runs no operator that a test could count, and keeps nothing of the value."""
    with torch._C.DisableTorchFunction(), _disable_current_modes():
        try:
            text = _Summary().repr(value)
        except Exception as error:  # of the value's own repr, say
            text = f"{type(value).__name__} (not shown: {type(error).__name__})"
    return cut(" ".join(text.split()), width)


class _Summary(reprlib.Repr):
    """reprlib's bounded repr, which knows the values that katas are about."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdeque = 6
        self.maxstring = self.maxlong = 60
        self.maxother = 400

    def repr1(self, x: Any, level: int) -> str:
        elements = FIRST_ELEMENTS if level == self.maxlevel else FIRST_ELEMENTS_INSIDE
        if isinstance(x, Tensor):
            return _tensor(x, elements)
        if isinstance(x, np.ndarray) and x.dtype != object:
            return f"numpy {x.dtype} {list(x.shape)} {_joined(x.reshape(-1)[:elements].tolist(), x.size > elements)}"
        if isinstance(x, torch.Generator):
            return f"Generator(seed {x.initial_seed()})"
        if isinstance(x, nn.Module):
            return _module(x)
        if isinstance(x, float):
            return f"{x:.6g}"
        if isinstance(x, type):
            return x.__name__
        if callable(x) and hasattr(x, "__name__"):
            return _function(x)
        if isinstance(x, functools.partial):
            return f"partial of {self.repr1(x.func, level - 1)}"
        if isinstance(x, torch.optim.Optimizer):
            rates = ", ".join(f"{group['lr']:.4g}" for group in x.param_groups[: self.maxlist])
            return f"{type(x).__name__} with lr {rates}"
        names = getattr(x, "_fields", None) or getattr(x, "__dataclass_fields__", None)
        if names and level > 0:
            fields = (f"{name}={self.repr1(getattr(x, name), level - 1)}" for name in islice(names, self.maxdict))
            return f"{type(x).__name__}({', '.join(fields)})"
        text = super().repr1(x, level)
        if not ADDRESS.search(text) or not getattr(x, "__dict__", None):
            return ADDRESS.sub("", text)
        fields = (f"{name}={self.repr1(value, level - 1)}" for name, value in islice(vars(x).items(), self.maxdict))
        return f"{type(x).__name__}({', '.join(fields)})" if level > 0 else f"{type(x).__name__}(...)"


def _tensor(x: Tensor, count: int) -> str:
    """ "float32 [3, 7]  0.3367 0.1288 ..."; where it lies if that is not the CPU."""
    text = f"{str(x.dtype).removeprefix('torch.')} {list(x.shape)}"
    if x.device.type != "cpu":
        text += f" on {x.device}"
    with suppress(Exception):  # the device meta has no values, a sparse tensor no first ones
        return f"{text}  {_joined(_first(x.detach(), count), x.numel() > count)}".rstrip()
    return text


def _first(x: Tensor, count: int) -> list[Any]:
    """The first elements, of which no more than these are copied."""
    for axis in range(x.dim()):
        behind = math.prod(x.shape[axis + 1 :])
        x = x.narrow(axis, 0, min(x.shape[axis], -(-count // behind) if behind else 0))
    elements: list[Any] = x.reshape(-1)[:count].tolist()
    return elements


def _joined(elements: list[Any], more: bool) -> str:
    shown = (f"{x:.4g}" if isinstance(x, float | complex) else str(x) for x in elements)
    return " ".join(shown) + (" ..." if more else "")


def _module(module: nn.Module) -> str:
    """The structure in torch's words; first the module's own parameters, which torch leaves out."""
    text = " ".join(repr(module)[:MAX_SOURCE_CHARS].split()).replace("( ", "(").replace(" )", ")")
    own = [f"{name} {list(p.shape)}" for name, p in module.named_parameters(recurse=False)]
    if not own or type(module).__module__.startswith("torch."):
        return text
    name, _, inside = text.partition("(")
    more = [f"{count(len(own) - MAX_PARAMETERS, 'parameter')} more"] if len(own) > MAX_PARAMETERS else []
    return f"{name}({', '.join([*own[:MAX_PARAMETERS], *more])}{';' if inside != ')' else ''} {inside}".replace(
        " )", ")"
    )


def _function(x: Callable[..., Any]) -> str:
    code = getattr(x, "__code__", None)
    return f"<lambda> of line {code.co_firstlineno}" if code and x.__name__ == "<lambda>" else x.__name__
