"""What the learner's functions returned to a test that then stopped with an error of its own.

A test that is given None, a list or a tensor of another shape may fail in its own code, with an error that says nothing of
the learner's: "unhashable type: 'list'". Such a test is run once more, and what came back is compared with the signatures.
"""

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest

from dojo.core.language import say
from dojo.engine.calls import CONSTRUCTOR, Call, CallRecorder, Functions, functions_of

RESULTS_KEPT = 1000  # of one test; what spoils it is among the first
WAITING = inspect.CO_GENERATOR | inspect.CO_COROUTINE  # of functions whose calls return something to wait for
SUBMODULE_MISSING = re.compile(r"(\w+) has no attribute `(\w+)`")


def explain_result(item: pytest.Item, file: Path, error: BaseException) -> str:
    """Which result of the learner's functions in `file` the test `item` could not use; empty if that cannot be told."""
    module = sys.modules.get(f"katas.{file.stem}")
    if module is None or not isinstance(item, pytest.Function):
        return ""
    results = record_results(item, functions_of(module))
    unfit = next((result for result in results if not fits_signature(result)), None)
    if unfit is None and (missing := _missing_attribute(error, module)):
        return missing
    result = unfit or (results[-1] if results and not isinstance(error, AssertionError) else None)
    if result is None:  # an assertion of the test's own says what it expects
        return ""
    promised = _promise(result.function) if unfit else ""
    given = ", ".join(f"{name} {list(value.shape)}" for name, value in result.arguments.items() if _is_tensor(value))
    values = {"name": result.name, "value": _described(result.value), "given": given, "promised": promised}
    if given and promised:
        returned = say("{name} returned {value} for {given}, should be {promised}", **values)
    elif given:
        returned = say("{name} returned {value} for {given}", **values)
    elif promised:
        returned = say("{name} returned {value}, should be {promised}", **values)
    else:
        returned = say("{name} returned {value}", **values)
    rest = say("The test could not go on with it ({kind}: {error})", kind=type(error).__name__, error=error)
    return f"{returned}\n{rest}"


def record_results(item: pytest.Function, functions: Functions) -> list[Call]:
    """What `functions` return while the test runs once more, in order. How it ends this time does not matter."""
    results: list[Call] = []

    def note(call: Call) -> None:
        has_value = call.ended == "returned" and not call.function.__code__.co_flags & WAITING
        if has_value and call.function.__name__ != CONSTRUCTOR and len(results) < RESULTS_KEPT:
            results.append(call)

    try:
        with CallRecorder(functions, note):
            item.ihook.pytest_pyfunc_call(pyfuncitem=item)
    except (Exception, pytest.fail.Exception, pytest.skip.Exception):
        pass
    return results


def fits_signature(result: Call) -> bool:
    """Whether the value has the type that the function's annotations promise, with the shapes of the arguments."""
    from jaxtyping import jaxtyped

    hints = _hints(result.function)
    with jaxtyped("context"):  # inside it, one name of an axis stands for one size
        for name, hint in hints.items():
            if name in result.arguments:
                fits(result.arguments[name], hint)
        return "return" not in hints or fits(result.value, hints["return"])


def fits(value: Any, hint: Any) -> bool:
    """Whether `value` has the type `hint`; True where that cannot be told."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, float | int)
    if isinstance(hint, type) and origin is None:
        return _is_instance(value, hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, part) for part in arguments)
    if origin is tuple and isinstance(value, tuple) and arguments and arguments[-1] is not Ellipsis:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if origin is list and isinstance(value, list):
        return all(fits(part, arguments[0]) for part in value)
    return not isinstance(origin, type) or isinstance(value, origin)


def _is_instance(value: Any, hint: type) -> bool:
    from jaxtyping import AnnotationError

    try:
        return isinstance(value, hint)
    except AnnotationError:  # an axis that is computed from something other than axes
        return True


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except Exception:  # a learner may have written any annotation
        return {}


def _promise(function: Callable[..., Any]) -> str:
    """The annotation of the result, as it is written in the stub; empty without one."""
    hint = _hints(function).get("return")
    return (
        ""
        if hint is None or hint is Any
        else inspect.formatannotation(hint).replace("'", '"').rpartition("jaxtyping.")[2]
    )


def _is_tensor(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Tensor)


def _described(value: Any) -> str:
    from torch import nn

    from dojo.testing.describe import describe

    if _is_tensor(value):
        return say("a tensor of shape {shape} and dtype {dtype}", shape=list(value.shape), dtype=value.dtype)
    return say("a {kind}", kind=type(value).__name__) if isinstance(value, nn.Module) else describe(value)


def _missing_attribute(error: BaseException, module: types.ModuleType) -> str:
    """What an AttributeError of the test says about an object of a learner's class; empty for any other error."""
    if not isinstance(error, AttributeError):
        return ""
    name, owner = error.name, type(error.obj)
    if told := SUBMODULE_MISSING.match(str(error)):  # by nn.Module.get_submodule and its like
        name, owner = told[2], vars(module).get(told[1], object)
    if owner.__module__ != module.__name__:
        return ""
    return say(
        "{owner} has no attribute `{name}`, which its tests read; keep the names that the stub's docstring gives",
        owner=owner.__name__,
        name=name,
    )
