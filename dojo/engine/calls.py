"""Records the calls of the learner's functions: what they were given, and what they returned, yielded or raised."""

import dis
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dojo.core.outcome import text_of

CONSTRUCTOR = "__init__"
LOOKED_AT = {
    "__repr__",
    "__str__",
    "__eq__",
    "__hash__",
}  # methods that a test calls when it compares and says what it got
Functions = Mapping[types.CodeType, tuple[str, Callable[..., Any]]]


@dataclass
class Call:
    """One call of a function of the learner's file. `ended` says how: "returned", "raised", or "" for a generator that waits."""

    name: str  # "top_k_filter", "LoRALinear.forward"
    function: Callable[..., Any]
    arguments: dict[str, Any]
    depth: int  # how many calls of other such functions it stands in
    ended: str = ""
    line: int = 0  # that it ended in
    value: Any = None  # what it returned, or yielded last; of a constructor, what it built
    error: str = ""  # what it raised: "ValueError: k is negative"
    yielded: int = 0  # how many values


def functions_of(module: types.ModuleType) -> Functions:
    """Name and function for each code object of the functions and methods that the file of `module` defines."""
    found: dict[types.CodeType, tuple[str, Callable[..., Any]]] = {}
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        members = vars(value).items() if isinstance(value, type) else [("", value)]
        for member, function in members:
            inner = inspect.unwrap(getattr(function, "__func__", function)) if callable(function) else None
            if not isinstance(inner, types.FunctionType) or member in LOOKED_AT:
                continue
            if inner.__code__.co_filename == module.__file__:  # @dataclass makes some that nobody has written
                found[inner.__code__] = (f"{name}.{member}" if member else name, inner)
    return found


class CallRecorder:
    """A context manager that gives each call of `functions` to `note` when it has ended.

    `see` is what is kept of an argument or a value, taken while the call runs: later it may have been modified. What it
    returns must not keep a tensor alive where a test looks at which are.
    """

    def __init__(
        self, functions: Functions, note: Callable[[Call], object], see: Callable[[Any], Any] = lambda value: value
    ) -> None:
        self.functions, self.note, self.see = functions, note, see
        self.running: dict[types.FrameType, Call] = {}
        self.depth = 0

    def __enter__(self) -> "CallRecorder":
        self.before = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)
        for call in self.running.values():  # generators that wait
            self.note(call)
        self.running.clear()

    def _enter(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        if frame.f_code not in self.functions:
            return None
        if frame not in self.running:  # a generator is entered again after each value
            name, function = self.functions[frame.f_code]
            values = frame.f_locals
            arguments = {name: self.see(values[name]) for name in _argument_names(frame.f_code) if name in values}
            self.running[frame] = Call(name, function, arguments, self.depth)
        self.depth += 1
        return self._follow

    def _follow(self, frame: types.FrameType, event: str, argument: Any) -> Any:
        call = self.running.get(frame)
        if call is None:
            return None
        if event == "exception":
            kind, error, _ = argument
            call.error = f"{kind.__name__}: {text_of(error)}".removesuffix(": ")
        elif event == "return":
            self.depth -= 1
            self._leave(call, frame, argument)
        return self._follow

    def _leave(self, call: Call, frame: types.FrameType, value: Any) -> None:
        """Notes that the frame is left, by a return, by an exception or at a `yield`."""
        operation = dis.opname[frame.f_code.co_code[frame.f_lasti]]
        waits = operation in ("YIELD_VALUE", "RESUME") and not call.error.startswith("GeneratorExit")
        call.line = frame.f_lineno
        if waits:
            call.value, call.yielded, call.error = self.see(value), call.yielded + 1, ""
            return
        if operation.startswith("RETURN_"):
            call.ended, call.error = "returned", ""
            if call.name.endswith(f".{CONSTRUCTOR}"):
                value = frame.f_locals.get(frame.f_code.co_varnames[0])
            call.value = call.value if call.yielded else self.see(value)
        elif not call.error.startswith("GeneratorExit"):
            call.ended = "raised"
        del self.running[frame]
        self.note(call)


def _argument_names(code: types.CodeType) -> tuple[str, ...]:
    stars = bool(code.co_flags & inspect.CO_VARARGS) + bool(code.co_flags & inspect.CO_VARKEYWORDS)
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + stars]
