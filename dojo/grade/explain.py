"""Why a case failed, as one sentence that names what was expected and what came instead.

What the submission wrote (the texts of its exceptions, names of its classes) is quoted: whoever renders it escapes it.
"""

from typing import Any

import torch
from torch import Tensor

from dojo import probes
from dojo.grade.frames import Alien
from dojo.probes import Counts, Raised


def why(expected: Any, seen: Any) -> str:
    """Empty when the two are the same."""
    if isinstance(seen, dict) and isinstance(seen.get("raised"), Raised):
        return _about_raised(expected, seen["raised"])
    if isinstance(expected, dict) and isinstance(expected.get("raised"), Raised):
        return f"it should have raised {expected['raised'].name}, and returned instead"
    found = _differs(expected, seen, "")
    return found or ("" if probes.same(expected, seen) else "the evidence differs")


def _about_raised(expected: Any, seen: Raised) -> str:
    wanted = expected.get("raised") if isinstance(expected, dict) else None
    if isinstance(wanted, Raised) and probes.same(wanted, seen):
        return ""
    said = f"{seen.name}: {seen.note}" if seen.note else seen.name
    if seen.not_started:
        return "it is not written yet"
    if isinstance(wanted, Raised):
        return f"it should have raised {wanted.name}, and raised {said}"
    return f"it raised {said}"


def _differs(expected: Any, seen: Any, where: str) -> str:
    at = f"{where}: " if where else ""
    if probes.same(expected, seen):
        return ""
    if isinstance(seen, Alien):
        return f"{at}expected {_kind(expected)}, got an object of class {seen.kind!r}"
    if isinstance(expected, dict) and isinstance(seen, dict):
        for key in expected:
            if key not in seen:
                return f"{at}{key} is missing"
            if found := _differs(expected[key], seen[key], f"{where}, {key}" if where else str(key)):
                return found
        return (
            f"{at}there is more than expected: {', '.join(sorted(set(seen) - set(expected)))[:100] or 'another order'}"
        )
    if isinstance(expected, list) and isinstance(seen, list):
        if len(expected) != len(seen):
            return f"{at}expected {len(expected)} entries, got {len(seen)}"
        pairs = enumerate(zip(expected, seen, strict=True))
        return next((found for i, (a, b) in pairs if (found := _differs(a, b, f"{where}[{i}]"))), "")
    if isinstance(expected, Tensor) and isinstance(seen, Tensor):
        return at + _about_tensors(expected, seen)
    if isinstance(expected, Counts) and isinstance(seen, Counts):
        return at + _about_counts(expected.counts, seen.counts)
    if type(expected) is not type(seen):
        return f"{at}expected {_kind(expected)}, got {_kind(seen)}"
    return f"{at}expected {_shown(expected)}, got {_shown(seen)}"


def _about_tensors(expected: Tensor, seen: Tensor) -> str:
    if expected.dtype != seen.dtype:
        return f"expected dtype {_name(expected.dtype)}, got {_name(seen.dtype)}"
    if expected.shape != seen.shape:
        return f"expected shape {list(expected.shape)}, got {list(seen.shape)}"
    if not expected.is_floating_point():
        wrong = expected != seen
    else:
        rtol, atol = probes.TOLERANCE.get(expected.dtype, probes.WIDE)
        wrong = ~torch.isclose(seen.double(), expected.double(), rtol=rtol, atol=atol, equal_nan=True)
    first = tuple(wrong.nonzero()[0].tolist()) if wrong.any() else ()
    values = f"expected {_number(expected[first])}, got {_number(seen[first])}"
    count = f" ({int(wrong.sum())} of {wrong.numel()} values differ)" if wrong.numel() > 1 else ""
    return values + (f" at {list(first)}" if first else "") + count


def _about_counts(expected: Tensor, seen: Tensor) -> str:
    if expected.shape != seen.shape or expected.sum() != seen.sum():
        return f"expected {int(expected.sum())} draws from {len(expected)} categories, got {int(seen.sum())} from {len(seen)}"
    worst = int((expected - seen).abs().argmax())
    total = int(expected.sum())
    return (
        f"drawn with other frequencies than a right answer's: category {worst} came {int(seen[worst])} times "
        f"in {total}, expected about {int(expected[worst])}"
    )


def _number(x: Tensor) -> str:
    value = x.item()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _kind(x: Any) -> str:
    if isinstance(x, Tensor):
        return f"a tensor of {_name(x.dtype)} {list(x.shape)}"
    if isinstance(x, Counts):
        return "draws in the right range"
    return "None" if x is None else f"{type(x).__name__} {_shown(x)}"


def _shown(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
