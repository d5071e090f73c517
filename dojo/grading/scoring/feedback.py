"""Why a case failed, as one sentence that names what was expected and what came instead.

What the submission wrote (the texts of its exceptions, names of its classes) is quoted: whoever renders it escapes it.
"""

import re
from typing import Any

import torch
from torch import Tensor

from dojo.testing import probes
from dojo.testing.codec import TOO_LARGE, Opaque, TooLarge
from dojo.testing.probes import Counts, Raised

NOTE = re.compile(r"(?s)(.*) \((?:line (\d+)|after ([\w.]+))\)")
ABSENT = re.compile(r"module '[^']*' has no attribute '(\w+)'")
NO_MEMBER = re.compile(r"(?:type object )?'(\w+)'(?: object)? has no attribute '(\w+)'")
NO_SUCH_CALL = re.compile(r"[\w.<>]+\(\) (takes |missing \d|got an unexpected |got multiple |got some )")
WRONG_TYPE = re.compile(r"(?:'|not |non-iterable |got )(NoneType|coroutine|generator)\b")
MENDED = {
    "NoneType": "is a `return` missing?",
    "coroutine": "write `def`, not `async def`",
    "generator": "`yield` makes a generator",
}


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
    if seen.not_started:
        return "it is not written yet"
    text, line, of = _parts(seen)
    said = f"{seen.name}: {text}" if text else seen.name
    if seen.name == TooLarge.__name__ and not line:
        return "the result is too large to be sent"
    if of and (absent := _absent(seen.name, text, of)):
        return absent
    if isinstance(wanted, Raised) and of:
        return f"it should have raised {wanted.name}, and returned instead"
    if of:
        return _about_returned(seen.name, said, of)
    at = f" (line {line})" if line else ""
    if isinstance(wanted, Raised):
        return f"it should have raised {wanted.name}, and raised {said}{at}"
    return f"it ran out of memory{at}" if seen.name == "MemoryError" else f"it raised {said}{at}"


def upset_the_probe(seen: Raised) -> bool:
    """Whether the probe met what it could not handle: another type than asked, or no function at all."""
    return bool(_parts(seen)[2]) and seen.name in ("AttributeError", "TypeError")


def _parts(seen: Raised) -> tuple[str, str, str]:
    """What it said, the line of the kata, and the function after which the probe itself raised it."""
    found = NOTE.fullmatch(seen.note)
    return (found[1], found[2] or "", found[3] or "") if found else (seen.note, "", "")


def _absent(name: str, text: str, of: str) -> str:
    if name == "AttributeError" and (found := ABSENT.match(text)):
        return f"there is no {found[1]} in the file (the stub has it)"
    if name == "AttributeError" and (found := NO_MEMBER.match(text)) and found[1] == of.partition(".")[0]:
        return f"{found[1]} has no {found[2]} (the stub has it)"
    if name == "TypeError" and NO_SUCH_CALL.match(text):
        return f"it cannot be called as the stub can: {text}"
    return ""


def _about_returned(name: str, said: str, of: str) -> str:
    if name not in ("AttributeError", "TypeError"):  # what it did to its arguments, perhaps
        return f"the probe could not go on after {of}: {said}"
    kind = WRONG_TYPE.search(said)
    return f"the probe could not use what {of} returned: {said}" + (f"; {kind[1]}: {MENDED[kind[1]]}" if kind else "")


def _differs(expected: Any, seen: Any, where: str) -> str:
    at = f"{where}: " if where else ""
    if probes.same(expected, seen):
        return ""
    if isinstance(seen, Opaque):
        return at + _about_alien(expected, seen.kind)
    if isinstance(expected, dict) and isinstance(seen, dict):
        for key in expected:
            if key not in seen:
                return f"{at}{key} is missing"
            if found := _differs(expected[key], seen[key], f"{where}, {key}" if where else str(key)):
                return found
        return (
            f"{at}there is more than expected: {', '.join(sorted(set(seen) - set(expected)))[:100] or 'another order'}"
        )
    last = where.rpartition(", ")[2]
    if isinstance(expected, list) and isinstance(seen, list):
        if last == "shape" and all(type(n) is int for n in (*expected, *seen[:20])):
            return f"{at}expected {_shown(expected)}, got {_shown(seen)}"
        if len(expected) != len(seen):
            return f"{at}expected {len(expected)} {'entry' if len(expected) == 1 else 'entries'}, got {len(seen)}"
        pairs = enumerate(zip(expected, seen, strict=True))
        return next((found for i, (a, b) in pairs if (found := _differs(a, b, f"{where}[{i}]"))), "")
    if isinstance(expected, Tensor) and isinstance(seen, Tensor):
        return at + _about_tensors(expected, seen)
    if isinstance(expected, Counts) and isinstance(seen, Counts):
        return at + _about_counts(expected.counts, seen.counts)
    if last.partition("[")[0] == "floats" and expected is True and seen is False:
        return f"{at}expected a Python float, got another type"
    if type(expected) is not type(seen):
        return f"{at}expected {_kind(expected)}, got {_kind(seen)}"
    return f"{at}expected {_shown(expected)}, got {_shown(seen)}"


def _about_alien(expected: Any, kind: str) -> str:
    if kind == TOO_LARGE:
        return f"the result is too large to be sent; expected {_kind(expected)}"
    got = kind if kind.startswith("a tensor of ") else f"an object of class {kind!r}"
    return f"expected {_kind(expected)}, got {got}"


def _about_tensors(expected: Tensor, seen: Tensor) -> str:
    if expected.dtype != seen.dtype:
        return f"expected dtype {_name(expected.dtype)}, got {_name(seen.dtype)}"
    if expected.shape != seen.shape:
        return f"expected shape {list(expected.shape)}, got {list(seen.shape)}"
    if not expected.is_floating_point():
        wrong = expected != seen
    else:
        rtol, atol = probes.tolerance(expected.dtype)
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
    if isinstance(x, dict | list):  # printing thirty thousand small tensors takes minutes
        return f"a {type(x).__name__} of {len(x)}"
    return "None" if x is None else f"{type(x).__name__} {_shown(x)}"


def _shown(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 80 else text[:77] + "..."


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
