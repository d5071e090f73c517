"""Evidence as bytes: a JSON head, and a body with the elements of all tensors. Never pickle: the sender may be hostile.

`decode` checks depth, counts, names and sizes before it allocates, and raises ProtocolError for anything that `encode`
would not have written. In the head, null, true, false, integers, strings and lists stand for themselves. Everything else
is an object with one key, the tag of its kind:

    {"f": "0x1.8p+1"}                    float, in hexadecimal
    {"d": [[key, value], ...]}           dict
    {"t": [dtype, shape, offset]}        tensor; its elements begin at `offset` in the body
    {"n": [tensor, categories]}          Draws
    {"p": [tensor, tensor, rows]}        Pairs
    {"r": [name, is ValueError, not started, note]}    Raised
    {"b": tensor of uint8}               bytes
    {"y": dtype}                         torch.dtype
    {"o": kind}                          Opaque: a value that cannot be sent
"""

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor

from dojo.testing.probes import Draws, Pairs, Raised

MAGIC = b"kata"
HEADER = struct.Struct("<4sIQ")  # magic, bytes of the head, bytes of the body
ALIGNMENT_BYTES = 16  # of tensors in the body
MAX_DIMENSIONS = 16
MAX_SIZE = 2**40  # of one dimension
MAX_EMPTY_SIZE = 2**20  # the same in a tensor without elements
MAX_CATEGORIES = 2**20
MAX_INT = 2**200
NODE_BYTES = 500  # memory that a value takes beside its content
TOO_LARGE = "a result too large to be sent"

DTYPE_NAMES = "float64 float32 float16 bfloat16 complex64 complex128 bool uint8 int8 int16 int32 int64"
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES.split()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class ProtocolError(Exception):
    """The bytes are no encoded evidence. The message is a clause that says why: "holds the bare number 'NaN'"."""


class TooLarge(Exception):
    """The evidence exceeds the limits as a whole."""


@dataclass(frozen=True)
class Limits:
    """How large one piece of evidence may be."""

    head: int = 2**22  # bytes
    body: int = 2**25  # bytes
    depth: int = 24
    nodes: int = 20_000  # values, counted through all lists and dicts
    text: int = 4000  # characters of one string


@dataclass(frozen=True)
class Opaque:
    """A value that cannot be sent: of an unknown class, or too large. Compares unequal to everything, itself included."""

    kind: str

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]  # unhashable, because equality says nothing


def encode(tree: Any) -> bytes:
    """The evidence `tree` as bytes: header, head, body. Values that cannot be sent become Opaque.

    Raises TooLarge if the head has too many bytes or values.
    """
    body = bytearray()
    plain = _encoded(tree, body, 0)
    head = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    if len(head) > Limits.head or _count_nodes(plain) > Limits.nodes:
        raise TooLarge(TOO_LARGE)
    return HEADER.pack(MAGIC, len(head), len(body)) + head + bytes(body)


def _count_nodes(x: Any) -> int:
    """How many values the decoder will count in an encoded tree, or more."""
    if isinstance(x, list):
        return 1 + sum(map(_count_nodes, x))
    if isinstance(x, dict) and "d" in x:
        return 1 + sum(_count_nodes(value) for _, value in x["d"])
    return 3 if isinstance(x, dict) else 1  # a pair, and its two tensors


def _encoded(x: Any, body: bytearray, depth: int) -> Any:
    """`x` as it stands in the head; the elements of its tensors are appended to `body`."""
    kind = type(x)
    if depth >= Limits.depth:
        return {"o": "something nested too deeply"}
    if kind in (list, tuple, dict) and len(x) > Limits.nodes:
        return {"o": TOO_LARGE}
    if x is None or kind is bool:
        return x
    if kind is int:
        return x if abs(x) < MAX_INT else {"o": "a huge int"}
    if kind is str:
        return x[: Limits.text]
    if kind is float:
        return {"f": x.hex()}
    if kind in (list, tuple):
        return [_encoded(value, body, depth + 1) for value in x]
    if kind is dict:
        return {"d": [[str(key)[: Limits.text], _encoded(value, body, depth + 1)] for key, value in x.items()]}
    if isinstance(x, Tensor):
        return _encoded_tensor(x, body)
    if isinstance(x, Draws) and not isinstance(x.draws, Tensor):
        return _encoded(x.draws, body, depth + 1)
    if isinstance(x, Pairs) and not (isinstance(x.a, Tensor) and isinstance(x.b, Tensor)):
        return {"o": "no pair of tensors"}
    if isinstance(x, Draws):
        draws = _encoded_tensor(x.draws, body)
        return draws if "o" in draws else {"n": [draws, x.categories]}
    if isinstance(x, Pairs):
        a, b = _encoded_tensor(x.a, body), _encoded_tensor(x.b, body)
        return a if "o" in a else b if "o" in b else {"p": [a, b, x.rows]}
    if isinstance(x, Raised):
        return {"r": [str(x.name)[:100], x.value_error, x.not_started, str(x.note)[:400]]}
    if kind is bytes:
        raw = _encoded_tensor(torch.frombuffer(bytearray(x), dtype=torch.uint8) if x else torch.ByteTensor(), body)
        return raw if "o" in raw else {"b": raw}
    if kind is torch.dtype:
        return {"y": NAMES[x]} if x in NAMES else {"o": str(x)}
    return {"o": kind.__name__[:100]}


def _encoded_tensor(x: Tensor, body: bytearray) -> dict[str, Any]:
    dtype = str(x.dtype).removeprefix("torch.")
    if x.device.type == "meta":
        return {"o": f"a tensor of {dtype} on the device meta, which has no values"}
    if x.dtype not in NAMES or x.layout is not torch.strided or x.is_nested:
        return {"o": f"a tensor of {dtype} whose layout cannot be compared ({x.layout})"}
    size = x.numel() * x.element_size()
    too_large = len(body) + ALIGNMENT_BYTES + size > Limits.body or x.dim() > MAX_DIMENSIONS
    if too_large or (not size and max(x.shape) >= MAX_EMPTY_SIZE):
        return {"o": TOO_LARGE}
    x = x.detach().cpu().resolve_conj().resolve_neg().contiguous()
    body += bytes(-len(body) % ALIGNMENT_BYTES)
    offset = len(body)
    if x.numel():
        body += x.reshape(-1).view(torch.uint8).numpy().tobytes()
    return {"t": [NAMES[x.dtype], list(x.shape), offset]}


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
        return self.READERS[tag](self, inner, depth) if tag in self.READERS else _refuse()

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
