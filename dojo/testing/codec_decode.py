"""Decodes what `codec.encode` made, from a sender that may be hostile.

Depth, counts, names and sizes are checked before anything is allocated. ProtocolError is raised for whatever `encode`
would not have written.
"""

import json
import math
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from dojo.testing.codec import (
    DTYPES,
    HEADER,
    MAX_CATEGORIES,
    MAX_DIMENSIONS,
    MAX_EMPTY_SIZE,
    MAX_INT,
    MAX_SIZE,
    NODE_BYTES,
    OF_INPUTS,
    Limits,
    Opaque,
    ProtocolError,
)
from dojo.testing.probes import Draws, Pairs, Raised


def decode(head: bytes, body: bytes, limits: Limits) -> Any:
    """The evidence of which `encode` made this head and body. Raises ProtocolError if it cannot have."""

    def refuse_number(text: str) -> NoReturn:
        raise ProtocolError(f"holds the bare number {text[:20]!r}")

    try:
        tree = json.loads(head.decode("ascii"), parse_float=refuse_number, parse_constant=refuse_number)
    except ProtocolError:
        raise
    except (ValueError, RecursionError) as error:
        raise ProtocolError("is no JSON that a probe would send") from error
    try:
        return _Decoder(body, limits).value(tree, 0)
    except ProtocolError:
        raise
    except Exception as error:  # torch refuses some shapes, for example
        _refuse(error)


def decode_frame(frame: bytes, limits: Limits | None = None) -> Any:
    """What is in a whole frame, header and all."""
    end = HEADER.size + HEADER.unpack_from(frame)[1]
    return decode(frame[HEADER.size : end], frame[end:], limits or Limits())


def _refuse(cause: Exception | None = None) -> NoReturn:
    raise ProtocolError("holds something that a probe would not send") from cause


def _items(x: Any, *kinds: type) -> list[Any]:
    """`x`, a list of exactly these types."""
    if type(x) is not list or [type(item) for item in x] != list(kinds):
        _refuse()
    return list(x)


class _Decoder:
    """Decodes one head. Each method checks what it is given, because any JSON may arrive."""

    def __init__(self, body: bytes, limits: Limits) -> None:
        self.body, self.limits = body, limits
        self.nodes = self.tensor_bytes = 0  # decoded so far

    def value(self, x: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > self.limits.depth or self.nodes > self.limits.nodes:
            raise ProtocolError("is nested too deeply or holds too many things")
        if x is None or type(x) is bool:
            return x
        if type(x) is int:
            return x if abs(x) < MAX_INT else _refuse()
        if type(x) is str:
            return x if len(x) <= self.limits.text else _refuse()
        if type(x) is list:
            return [self.value(item, depth + 1) for item in x]
        if type(x) is not dict or len(x) != 1:
            _refuse()
        ((tag, inner),) = x.items()
        is_known = tag in self.READERS and (self.limits.inputs or tag not in OF_INPUTS)
        return self.READERS[tag](self, inner, depth) if is_known else _refuse()

    def _float(self, x: Any, depth: int) -> float:
        if type(x) is not str or len(x) > 40:
            _refuse()
        try:
            return float.fromhex(x)
        except (ValueError, OverflowError) as error:
            _refuse(error)

    def _dict(self, x: Any, depth: int) -> dict[str, Any]:
        if type(x) is not list:
            _refuse()
        for pair in x:
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not str or len(pair[0]) > self.limits.text:
                _refuse()
        values = {key: self.value(item, depth + 1) for key, item in x}
        return values if len(values) == len(x) else _refuse()

    def _tensor(self, x: Any, depth: int) -> Tensor:
        name, shape, offset = _items(x, str, list, int)
        sizes_fit = all(type(n) is int and 0 <= n < MAX_SIZE for n in shape)
        if name not in DTYPES or len(shape) > MAX_DIMENSIONS or not sizes_fit:
            _refuse()
        dtype, count = DTYPES[name], math.prod(shape)
        size = count * dtype.itemsize
        self.tensor_bytes += size
        if not 0 <= offset <= len(self.body) - size or self.tensor_bytes > self.limits.body:
            raise ProtocolError("says that a tensor is longer than what arrived")
        if not count:
            return torch.empty(shape, dtype=dtype) if max(shape) < MAX_EMPTY_SIZE else _refuse()
        raw = torch.frombuffer(bytearray(self.body[offset : offset + size]), dtype=torch.uint8)
        # A byte other than 0 and 1 is no valid element of a bool tensor.
        return ((raw != 0) if dtype is torch.bool else raw.view(dtype)).reshape(shape)

    def _draws(self, x: Any, depth: int) -> Draws:
        encoded, categories = _items(x, dict, int)
        draws = self.value(encoded, depth + 1)
        fits = isinstance(draws, Tensor) and 0 < categories <= MAX_CATEGORIES
        return Draws(draws, categories) if fits else _refuse()

    def _pairs(self, x: Any, depth: int) -> Pairs:
        first, second, rows = _items(x, dict, dict, bool)
        a, b = self.value(first, depth + 1), self.value(second, depth + 1)
        return Pairs(a, b, rows) if isinstance(a, Tensor) and isinstance(b, Tensor) else _refuse()

    def _raised(self, x: Any, depth: int) -> Raised:
        name, value_error, not_started, note = _items(x, str, bool, bool, str)
        return Raised(name[:100], value_error, not_started, note[:400])

    def _bytes(self, x: Any, depth: int) -> bytes:
        raw = self.value(x, depth + 1)
        if not (isinstance(raw, Tensor) and raw.dtype is torch.uint8 and raw.dim() == 1):
            _refuse()
        return bytes(raw.numpy().tobytes())

    def _dtype(self, x: Any, depth: int) -> torch.dtype:
        return DTYPES[x] if type(x) is str and x in DTYPES else _refuse()

    def _opaque(self, x: Any, depth: int) -> Opaque:
        return Opaque(x[:100]) if type(x) is str else _refuse()

    def _tuple(self, x: Any, depth: int) -> tuple[Any, ...]:
        return tuple(self.value(item, depth + 1) for item in x) if type(x) is list else _refuse()

    def _view(self, x: Any, depth: int) -> Tensor:
        encoded, shape, strides = _items(x, dict, list, list)
        elements: Tensor = self.value(encoded, depth + 1)
        return elements.as_strided(shape, strides)  # torch refuses what lies outside of the elements

    READERS: ClassVar[dict[str, Callable[["_Decoder", Any, int], Any]]] = {
        "f": _float,
        "d": _dict,
        "t": _tensor,
        "n": _draws,
        "p": _pairs,
        "r": _raised,
        "b": _bytes,
        "y": _dtype,
        "o": _opaque,
        "u": _tuple,
        "v": _view,
    }


def memory_bytes(tree: Any) -> int:
    """About how many bytes of memory the decoded evidence takes."""
    if isinstance(tree, dict):
        return sum(map(memory_bytes, tree.values())) + NODE_BYTES
    if isinstance(tree, list):
        return sum(map(memory_bytes, tree)) + NODE_BYTES
    if isinstance(tree, Draws):
        return memory_bytes(tree.draws)
    if isinstance(tree, Pairs):
        return memory_bytes(tree.a) + memory_bytes(tree.b)
    content = tree.nbytes if isinstance(tree, Tensor) else len(tree) if isinstance(tree, bytes | str) else 0
    return NODE_BYTES + content
