"""TODO: one line."""

import json
import math
import struct
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dojo.testing.probes import Draws, Pairs, Raised

MAGIC = b"kata"

NODE = 500  # bytes that a tensor takes beside its numbers

HEADER = struct.Struct("<4sIQ")  # magic, bytes of the head, bytes of the body

KINDS = "float64 float32 float16 bfloat16 complex64 complex128 bool uint8 int8 int16 int32 int64"

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in KINDS.split()}

NAMES = {dtype: name for name, dtype in DTYPES.items()}

TOO_LARGE = "a result too large to be sent"


class BadFrame(Exception):
    """What arrived is no frame; the text is a clause that says why."""


class TooLarge(Exception):
    """More than a frame may hold."""


@dataclass(frozen=True)
class Limits:
    """How much one frame may hold."""

    head: int = 2**22
    body: int = 2**25
    depth: int = 24
    nodes: int = 20_000
    text: int = 4000


@dataclass(frozen=True)
class Alien:
    """A thing that has no place in evidence; it equals nothing."""

    kind: str

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


def encode(tree: Any) -> bytes:
    """One frame. What is no plain data is sent as the name of its class, what is too large as TOO_LARGE.

    Raises TooLarge when there are too many things in all.
    """
    body = bytearray()
    plain = _encoded(tree, body, 0)
    head = json.dumps(plain, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()
    if len(head) > Limits.head or _things(plain) > Limits.nodes:
        raise TooLarge(TOO_LARGE)
    return HEADER.pack(MAGIC, len(head), len(body)) + head + bytes(body)


def _things(x: Any) -> int:
    """As many as the decoder will count."""
    if isinstance(x, list):
        return 1 + sum(map(_things, x))
    if isinstance(x, dict) and "d" in x:
        return 1 + sum(_things(value) for _, value in x["d"])
    return 3 if isinstance(x, dict) else 1  # tensors of a pair are counted too


def _encoded(x: Any, body: bytearray, depth: int) -> Any:
    kind = type(x)
    if depth >= Limits.depth:
        return {"o": "something nested too deeply"}
    if kind in (list, tuple, dict) and len(x) > Limits.nodes:
        return {"o": TOO_LARGE}
    if x is None or kind is bool:
        return x
    if kind is int:
        return x if abs(x) < 2**200 else {"o": "a huge int"}
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
        return {"r": [str(x.name)[:100], bool(x.value_error), bool(x.not_started), str(x.note)[:400]]}
    if kind is bytes:
        raw = _encoded_tensor(torch.frombuffer(bytearray(x), dtype=torch.uint8) if x else torch.ByteTensor(), body)
        return raw if "o" in raw else {"b": raw}
    if kind is torch.dtype:
        return {"y": NAMES[x]} if x in NAMES else {"o": str(x)}
    return {"o": kind.__name__[:100]}


def _encoded_tensor(x: Tensor, body: bytearray) -> Any:
    dtype = str(x.dtype).removeprefix("torch.")
    if x.device.type == "meta":
        return {"o": f"a tensor of {dtype} on the device meta, which has no values"}
    if x.dtype not in NAMES or x.layout is not torch.strided or x.is_nested:
        return {"o": f"a tensor of {dtype} whose layout cannot be compared ({x.layout})"}
    size = x.numel() * x.element_size()
    if len(body) + 16 + size > Limits.body or x.dim() > 16 or (not size and max(x.shape) >= 2**20):
        return {"o": TOO_LARGE}
    x = x.detach().cpu().resolve_conj().resolve_neg().contiguous()
    body += bytes(-len(body) % 16)
    at = len(body)
    if x.numel():
        body += x.reshape(-1).view(torch.uint8).numpy().tobytes()
    return {"t": [NAMES[x.dtype], list(x.shape), at]}


def decode(head: bytes, body: bytes, limits: Limits) -> Any:
    """What a frame holds; raises BadFrame."""

    def refuse(text: str) -> Any:
        raise BadFrame(f"holds the bare number {text[:20]!r}")

    try:
        tree = json.loads(head.decode("ascii"), parse_float=refuse, parse_constant=refuse)
    except BadFrame:
        raise
    except (ValueError, RecursionError) as error:
        raise BadFrame("is no JSON that a probe would send") from error
    try:
        return _Decoder(body, limits).value(tree, 0)
    except BadFrame:
        raise
    except Exception as error:  # torch refuses some shapes, say
        raise BadFrame("holds something that a probe would not send") from error


class _Decoder:
    def __init__(self, body: bytes, limits: Limits) -> None:
        self.body, self.limits, self.nodes, self.used = body, limits, 0, 0

    def value(self, x: Any, depth: int) -> Any:
        self.nodes += 1
        if depth > self.limits.depth or self.nodes > self.limits.nodes:
            raise BadFrame("is nested too deeply or holds too many things")
        if x is None or type(x) is bool:
            return x
        if type(x) is int:
            return x if abs(x) < 2**200 else self.bad()
        if type(x) is str:
            return x if len(x) <= self.limits.text else self.bad()
        if type(x) is list:
            return [self.value(item, depth + 1) for item in x]
        if type(x) is not dict or len(x) != 1:
            self.bad()
        (tag, inner), *_ = x.items()
        reader = getattr(self, f"_{tag}", None) if len(tag) == 1 and tag in "fdtnprbyo" else None
        return reader(inner, depth) if reader else self.bad()

    def bad(self) -> Any:
        raise BadFrame("holds something that a probe would not send")

    def items(self, x: Any, *kinds: type | tuple[type, ...]) -> list[Any]:
        if type(x) is not list or len(x) != len(kinds):
            self.bad()
        for item, kind in zip(x, kinds, strict=True):
            if type(item) not in (kind if isinstance(kind, tuple) else (kind,)):
                self.bad()
        return x

    def _f(self, x: Any, depth: int) -> float:
        if type(x) is not str or len(x) > 40:
            self.bad()
        try:
            return float.fromhex(x)
        except (ValueError, OverflowError):
            return self.bad()

    def _d(self, x: Any, depth: int) -> dict[str, Any]:
        if type(x) is not list:
            self.bad()
        pairs = [self.items(pair, str, (dict, list, str, int, bool, type(None))) for pair in x]
        if any(len(key) > self.limits.text for key, _ in pairs):
            self.bad()
        found = {key: self.value(item, depth + 1) for key, item in pairs}
        return found if len(found) == len(pairs) else self.bad()

    def _t(self, x: Any, depth: int) -> Tensor:
        name, shape, at = self.items(x, str, list, int)
        if name not in DTYPES or len(shape) > 16 or any(type(n) is not int or not 0 <= n < 2**40 for n in shape):
            self.bad()
        dtype, count = DTYPES[name], math.prod(shape)
        size = count * dtype.itemsize
        self.used += size
        if not 0 <= at <= len(self.body) - size or self.used > self.limits.body:
            raise BadFrame("says that a tensor is longer than what arrived")
        if not count:
            return torch.empty(shape, dtype=dtype) if max(shape) < 2**20 else self.bad()
        raw = torch.frombuffer(bytearray(self.body[at : at + size]), dtype=torch.uint8)
        return ((raw != 0) if dtype is torch.bool else raw.view(dtype)).reshape(shape)

    def _n(self, x: Any, depth: int) -> Draws:
        draws, categories = self.items(x, dict, int)
        draws = self.value(draws, depth + 1)
        return Draws(draws, categories) if isinstance(draws, Tensor) and 0 < categories <= 2**20 else self.bad()

    def _p(self, x: Any, depth: int) -> Pairs:
        a, b, rows = self.items(x, dict, dict, bool)
        a, b = self.value(a, depth + 1), self.value(b, depth + 1)
        return Pairs(a, b, rows) if isinstance(a, Tensor) and isinstance(b, Tensor) else self.bad()

    def _r(self, x: Any, depth: int) -> Raised:
        name, value_error, not_started, note = self.items(x, str, bool, bool, str)
        return Raised(name[:100], value_error, not_started, note[:400])

    def _b(self, x: Any, depth: int) -> bytes:
        raw = self.value(x, depth + 1)
        plain = isinstance(raw, Tensor) and raw.dtype is torch.uint8 and raw.dim() == 1
        return raw.numpy().tobytes() if plain else self.bad()

    def _y(self, x: Any, depth: int) -> torch.dtype:
        return DTYPES[x] if type(x) is str and x in DTYPES else self.bad()

    def _o(self, x: Any, depth: int) -> Alien:
        return Alien(x[:100]) if type(x) is str else self.bad()


def weight(tree: Any) -> int:
    """About how many bytes of memory it takes to keep what was received."""
    if isinstance(tree, dict):
        return sum(map(weight, tree.values())) + NODE
    if isinstance(tree, list):
        return sum(map(weight, tree)) + NODE
    if isinstance(tree, Draws):
        return weight(tree.draws)
    if isinstance(tree, Pairs):
        return weight(tree.a) + weight(tree.b)
    return NODE + (tree.nbytes if isinstance(tree, Tensor) else len(tree) if isinstance(tree, bytes | str) else 0)
