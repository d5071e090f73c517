"""Evidence as bytes: a JSON head, and a body with the elements of all tensors. Never pickle: the sender may be hostile.

`decode` stands in codec_decode.py. In the head, null, true, false, integers, strings and lists stand for themselves. Everything else
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

The inputs of a case go the other way, from the grader, and must arrive as the probe drew them. `encode_exactly`
refuses what would change on the way, and has two more kinds:

    {"u": [...]}                         tuple
    {"v": [tensor, shape, strides]}      a tensor that is not contiguous, as a view of its elements
"""

import json
import struct
from dataclasses import dataclass
from types import NoneType
from typing import Any

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
OF_INPUTS = "uv"  # kinds that no evidence has

DTYPE_NAMES = "float64 float32 float16 bfloat16 complex64 complex128 bool uint8 int8 int16 int32 int64"
DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in DTYPE_NAMES.split()}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class ProtocolError(Exception):
    """The bytes are no encoded evidence. The message is a clause that says why: "holds the bare number 'NaN'"."""


class TooLarge(Exception):
    """The evidence exceeds the limits as a whole."""


class NotExact(Exception):
    """An input of a case would not arrive as it is. The message names what it is."""


@dataclass(frozen=True)
class Limits:
    """How large one piece of evidence may be."""

    head: int = 2**22  # bytes
    body: int = 2**25  # bytes
    depth: int = 24
    nodes: int = 20_000  # values, counted through all lists and dicts
    text: int = 4000  # characters of one string
    inputs: bool = False  # whether the sender is the grader: only then may there be tuples and views


@dataclass(frozen=True)
class Opaque:
    """A value that cannot be sent: of an unknown class, or too large. Compares unequal to everything, itself included."""

    kind: str

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]  # unhashable, because equality says nothing


def encode(tree: Any) -> bytes:
    """The evidence `tree` as bytes: header, head, body. Tuples become lists, keys text, and what cannot be sent Opaque.

    Raises TooLarge if the head has too many bytes or values.
    """
    body = bytearray()
    return _frame(_encoded(tree, body, 0), body)


def encode_exactly(tree: Any) -> bytes:
    """The inputs of a case as bytes. Raises NotExact for a value that would arrive as another one, or TooLarge.

    What two inputs share is not kept: each arrives as a copy of its own.
    """
    body = bytearray()
    return _frame(_encoded_exactly(tree, body, 0), body)


def _frame(plain: Any, body: bytearray) -> bytes:
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
    if isinstance(x, dict) and "u" in x:
        return _count_nodes(x["u"])
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


def _encoded_exactly(x: Any, body: bytearray, depth: int) -> Any:
    """`x` as it stands in the head, if `_Decoder` makes an equal value of the same type of it. Raises NotExact."""
    kind = type(x)
    if kind in (list, tuple) and depth < Limits.depth:
        items = [_encoded_exactly(value, body, depth + 1) for value in x]
        return items if kind is list else {"u": items}
    if kind is dict and depth < Limits.depth and all(type(key) is str and len(key) <= Limits.text for key in x):
        return {"d": [[key, _encoded_exactly(value, body, depth + 1)] for key, value in x.items()]}
    if kind is Tensor and not x.is_contiguous() and x.layout is torch.strided and x.numel() and not x.requires_grad:
        span = 1 + sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True))
        elements = _encoded_exactly(x.as_strided((span,), (1,)), body, depth + 1)
        return {"v": [elements, list(x.shape), list(x.stride())]}
    if kind in (NoneType, bool, int, float, str, bytes, torch.dtype) or (kind is Tensor and not x.requires_grad):
        encoded = _encoded(x, body, depth)
        if not (isinstance(encoded, dict) and "o" in encoded) and (kind is not str or encoded == x):
            return encoded
    shown = repr(x)
    raise NotExact(f"a {kind.__name__} cannot be sent as it is: {shown if len(shown) <= 80 else shown[:77] + '...'}")


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
        flat = x.as_strided((x.numel(),), (1,))  # a dimension of size 1 may have any stride, which view() refuses
        body += flat.view(torch.uint8).numpy().tobytes()
    return {"t": [NAMES[x.dtype], list(x.shape), offset]}
