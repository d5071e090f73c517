"""Puts the code of changed functions into the live functions of a module, so that a change can be tried without an import."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from inspect import CO_OPTIMIZED
from types import CodeType, FunctionType
from typing import Any

Changes = Mapping[int, CodeType]  # the new code of functions, by their place among all code of the file

SHAPE = ("co_name", "co_argcount", "co_posonlyargcount", "co_kwonlyargcount", "co_flags", "co_freevars")
BODY = ("co_code", "co_names", "co_varnames", "co_cellvars", "co_exceptiontable")


def changes(before: CodeType, after: CodeType) -> Changes | None:
    """What to put into the functions of `before`, the code of a module, so that it does what `after` does.

    None where more than the bodies of functions has changed: a default, a decorator, a class or module variable.
    """
    places = {id(code): place for place, code in enumerate(_all_code(before))}
    found: dict[int, CodeType] = {}
    return found if _collect(before, after, places, found) else None


class LiveFunctions:
    """The functions that the import of `code`, a module's, has made in this process."""

    def __init__(self, code: CodeType) -> None:
        places = {function: place for place, function in enumerate(_all_code(code))}
        self._functions: dict[int, list[FunctionType]] = {}
        for thing in gc.get_objects():
            if type(thing) is FunctionType and (place := places.get(thing.__code__)) is not None:
                self._functions.setdefault(place, []).append(thing)

    @contextmanager
    def changed(self, new: Changes) -> Iterator[None]:
        """Until the end, the functions do what their `new` code says."""
        before = [(function, function.__code__) for place in new for function in self._functions.get(place, [])]
        try:
            for place, code in new.items():
                for function in self._functions.get(place, []):
                    function.__code__ = code
            yield
        finally:
            for function, code in before:
                function.__code__ = code


def _collect(before: CodeType, after: CodeType, places: Mapping[int, int], found: dict[int, CodeType]) -> bool:
    """Adds the changes between the two to `found`. Returns False where they cannot be told by functions."""
    if any(getattr(before, name) != getattr(after, name) for name in SHAPE):
        return False
    if before.co_flags & CO_OPTIMIZED:  # a function, a lambda or a comprehension
        if _key(before) != _key(after):
            arguments = before.co_argcount + before.co_kwonlyargcount
            if before.co_varnames[:arguments] != after.co_varnames[:arguments]:
                return False
            found[places[id(before)]] = after
        return True
    if any(getattr(before, name) != getattr(after, name) for name in BODY):
        return False
    if len(before.co_consts) != len(after.co_consts):
        return False
    for old, new in zip(before.co_consts, after.co_consts, strict=True):
        if isinstance(old, CodeType) and isinstance(new, CodeType):
            if not _collect(old, new, places, found):
                return False
        elif _key(old) != _key(new):
            return False
    return True


def _all_code(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _all_code(constant)


def _key(constant: Any) -> Any:
    """What a constant is, without the lines on which it stands: 1, 1.0 and True differ."""
    if isinstance(constant, CodeType):
        fields = tuple(getattr(constant, name) for name in SHAPE + BODY)
        return "code", fields, tuple(map(_key, constant.co_consts))
    if isinstance(constant, tuple):
        return "tuple", tuple(map(_key, constant))
    if isinstance(constant, frozenset):
        return "frozenset", frozenset(map(_key, constant))
    return type(constant).__name__, repr(constant)
