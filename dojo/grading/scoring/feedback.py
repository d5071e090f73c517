"""Explains in one sentence why a case failed: what was expected, and what came instead.

The sentences quote what the submission chose (messages of exceptions, names of classes), so they must be escaped where
they are rendered.
"""

import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dojo.testing import probes
from dojo.testing.codec import TOO_LARGE, Opaque, TooLarge
from dojo.testing.probes import Counts, Raised

MAX_SHOWN_CHARACTERS = 80
# How `probes` writes the note of an exception.
NOTE = re.compile(r"(?s)(.*) \((?:line (\d+)|after ([\w.]+))\)")
# What Python says when the kata lacks a function, a member or a parameter, or returned a value of another type.
MISSING_FUNCTION = re.compile(r"module '[^']*' has no attribute '(\w+)'")
MISSING_MEMBER = re.compile(r"(?:type object )?'(\w+)'(?: object)? has no attribute '(\w+)'")
REFUSED_CALL = re.compile(r"[\w.<>]+\(\) (takes |missing \d|got an unexpected |got multiple |got some )")
WRONG_TYPE = re.compile(r"(?:'|not |non-iterable |got )(NoneType|coroutine|generator)\b")
ADVICE_BY_TYPE = {
    "NoneType": "is a `return` missing?",
    "coroutine": "write `def`, not `async def`",
    "generator": "`yield` makes a generator",
}


def explain(expected: Any, evidence: Any) -> str:
    """Why `evidence` is not what was expected; empty if the two are the same."""
    if isinstance(evidence, dict) and isinstance(evidence.get("raised"), Raised):
        return _explain_exception(expected, evidence["raised"])
    if isinstance(expected, dict) and isinstance(expected.get("raised"), Raised):
        return f"it should have raised {expected['raised'].name}, and returned instead"
    difference = _difference(expected, evidence, "")
    return difference or ("" if probes.same(expected, evidence) else "the evidence differs")


def probe_failed(raised: Raised) -> bool:
    """Whether the probe itself failed, on a value of a type that it cannot use or on a missing function."""
    return bool(_parse_note(raised.note).after) and raised.name in ("AttributeError", "TypeError")


@dataclass(frozen=True)
class _Note:
    """The parts of an exception's note. At most one of `line` and `after` is set."""

    message: str
    line: str = ""  # of the kata, in which it was raised
    after: str = ""  # the function of the kata after whose call the probe raised it


def _parse_note(note: str) -> _Note:
    match = NOTE.fullmatch(note)
    return _Note(match[1], match[2] or "", match[3] or "") if match else _Note(note)


def _explain_exception(expected: Any, raised: Raised) -> str:
    wanted = expected.get("raised") if isinstance(expected, dict) else None
    if isinstance(wanted, Raised) and probes.same(wanted, raised):
        return ""
    if raised.not_started:
        return "it is not written yet"
    note = _parse_note(raised.note)
    description = f"{raised.name}: {note.message}" if note.message else raised.name
    if raised.name == TooLarge.__name__ and not note.line:
        return "the result is too large to be sent"
    if note.after and (missing := _explain_missing(raised.name, note)):
        return missing
    if isinstance(wanted, Raised) and note.after:
        return f"it should have raised {wanted.name}, and returned instead"
    if note.after:
        return _explain_unusable(raised.name, description, note.after)
    place = f" (line {note.line})" if note.line else ""
    if isinstance(wanted, Raised):
        return f"it should have raised {wanted.name}, and raised {description}{place}"
    return f"it ran out of memory{place}" if raised.name == "MemoryError" else f"it raised {description}{place}"


def _explain_missing(exception: str, note: _Note) -> str:
    """The sentence for a function, member or parameter that the kata lacks; empty for any other exception."""
    message = note.message
    if exception == "AttributeError" and (match := MISSING_FUNCTION.match(message)):
        return f"there is no {match[1]} in the file (the stub has it)"
    class_name = note.after.partition(".")[0]
    if exception == "AttributeError" and (match := MISSING_MEMBER.match(message)) and match[1] == class_name:
        return f"{match[1]} has no {match[2]} (the stub has it)"
    if exception == "TypeError" and REFUSED_CALL.match(message):
        return f"it cannot be called as the stub can: {message}"
    return ""


def _explain_unusable(exception: str, description: str, function: str) -> str:
    """The sentence for an exception that the probe raised after `function` returned."""
    if exception not in ("AttributeError", "TypeError"):  # not the type of the result; a changed argument, perhaps
        return f"the probe could not go on after {function}: {description}"
    match = WRONG_TYPE.search(description)
    advice = f"; {match[1]}: {ADVICE_BY_TYPE[match[1]]}" if match else ""
    return f"the probe could not use what {function} returned: {description}{advice}"


def _difference(expected: Any, evidence: Any, path: str) -> str:
    """The first difference, as a sentence that begins with `path` (where in the evidence it is); empty if none."""
    prefix = f"{path}: " if path else ""
    if probes.same(expected, evidence):
        return ""
    if isinstance(evidence, Opaque):
        return prefix + _opaque_difference(expected, evidence.kind)
    if isinstance(expected, dict) and isinstance(evidence, dict):
        return _dict_difference(expected, evidence, path)
    if isinstance(expected, list) and isinstance(evidence, list):
        return _list_difference(expected, evidence, path)
    if isinstance(expected, Tensor) and isinstance(evidence, Tensor):
        return prefix + _tensor_difference(expected, evidence)
    if isinstance(expected, Counts) and isinstance(evidence, Counts):
        return prefix + _counts_difference(expected.counts, evidence.counts)
    if _last_key(path).partition("[")[0] == "floats" and expected is True and evidence is False:
        return f"{prefix}expected a Python float, got another type"
    if type(expected) is not type(evidence):
        return f"{prefix}expected {_describe(expected)}, got {_describe(evidence)}"
    return f"{prefix}expected {_shortened(expected)}, got {_shortened(evidence)}"


def _dict_difference(expected: dict[str, Any], evidence: dict[str, Any], path: str) -> str:
    prefix = f"{path}: " if path else ""
    for key in expected:
        if key not in evidence:
            return f"{prefix}{key} is missing"
        if sentence := _difference(expected[key], evidence[key], f"{path}, {key}" if path else str(key)):
            return sentence
    extra = ", ".join(sorted(set(evidence) - set(expected)))[:100]
    return f"{prefix}there is more than expected: {extra or 'another order'}"


def _list_difference(expected: list[Any], evidence: list[Any], path: str) -> str:
    prefix = f"{path}: " if path else ""
    if _last_key(path) == "shape" and all(type(n) is int for n in (*expected, *evidence[:20])):
        return f"{prefix}expected {_shortened(expected)}, got {_shortened(evidence)}"
    if len(expected) != len(evidence):
        entries = "entry" if len(expected) == 1 else "entries"
        return f"{prefix}expected {len(expected)} {entries}, got {len(evidence)}"
    for i, (a, b) in enumerate(zip(expected, evidence, strict=True)):
        if sentence := _difference(a, b, f"{path}[{i}]"):
            return sentence
    return ""


def _last_key(path: str) -> str:
    return path.rpartition(", ")[2]


def _opaque_difference(expected: Any, kind: str) -> str:
    if kind == TOO_LARGE:
        return f"the result is too large to be sent; expected {_describe(expected)}"
    got = kind if kind.startswith("a tensor of ") else f"an object of class {kind!r}"
    return f"expected {_describe(expected)}, got {got}"


def _tensor_difference(expected: Tensor, evidence: Tensor) -> str:
    if expected.dtype != evidence.dtype:
        return f"expected dtype {_dtype_name(expected.dtype)}, got {_dtype_name(evidence.dtype)}"
    if expected.shape != evidence.shape:
        return f"expected shape {list(expected.shape)}, got {list(evidence.shape)}"
    if not expected.is_floating_point():
        wrong = expected != evidence
    else:
        rtol, atol = probes.tolerance(expected.dtype)
        wrong = ~torch.isclose(evidence.double(), expected.double(), rtol=rtol, atol=atol, equal_nan=True)
    first = tuple(wrong.nonzero()[0].tolist()) if wrong.any() else ()
    values = f"expected {_number(expected[first])}, got {_number(evidence[first])}"
    count = f" ({int(wrong.sum())} of {wrong.numel()} values differ)" if wrong.numel() > 1 else ""
    return values + (f" at {list(first)}" if first else "") + count


def _counts_difference(expected: Tensor, counts: Tensor) -> str:
    total = int(expected.sum())
    if expected.shape != counts.shape or total != counts.sum():
        return f"expected {total} draws from {len(expected)} categories, got {int(counts.sum())} from {len(counts)}"
    worst = int((expected - counts).abs().argmax())
    return (
        f"drawn with other frequencies than a right answer's: category {worst} came {int(counts[worst])} times "
        f"in {total}, expected about {int(expected[worst])}"
    )


def _number(x: Tensor) -> str:
    value = x.item()
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _describe(x: Any) -> str:
    """The type of `x`, and its value where it is short."""
    if isinstance(x, Tensor):
        return f"a tensor of {_dtype_name(x.dtype)} {list(x.shape)}"
    if isinstance(x, Counts):
        return "draws in the right range"
    if isinstance(x, dict | list):  # the repr of thirty thousand small tensors would take minutes
        return f"a {type(x).__name__} of {len(x)}"
    return "None" if x is None else f"{type(x).__name__} {_shortened(x)}"


def _shortened(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 3] + "..."


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
