"""Reads a report.json that came from elsewhere: from a job that ran a submission, for one. Nothing in it is believed.

It is taken only if it is what `Report.as_dict` writes, to the letter: no field more or less, types as declared, figures
that are finite and add up.
"""

import json
import math
import re
from typing import Any, get_args

from dojo.core.errors import UserError
from dojo.grading.reports.escape import plain
from dojo.grading.results import SCHEMA, CaseResult, KataResult, Report, Status

MOST_BYTES = 16 * 2**20
MOST_KATAS, MOST_CASES, MOST_TEXT = 1_000, 10_000, 100_000
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9_]{1,80}")


class _Odd(Exception):
    """What is not as it should be; the text is a clause."""


def read_report(data: bytes) -> Report:
    """The report in `data`; raises UserError with the reason if it is none."""
    try:
        if len(data) > MOST_BYTES:
            raise _Odd(f"is larger than {MOST_BYTES >> 20} MB")
        return _report(json.loads(data.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_once))
    except (_Odd, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _Odd) else "is no JSON"
        raise UserError(
            f"This is not a report that `kata grade` wrote: it {reason}. Grade the submission again."
        ) from None


def _report(found: Any) -> Report:
    if isinstance(found, dict) and isinstance(found.get("error"), str):
        raise UserError(f"Nothing was graded: {plain(found['error'], 500)}")
    fields = _fields(found, Report, "schema", "score", "max_score")
    if fields.pop("schema") != SCHEMA:
        raise _Odd(f"does not say {SCHEMA}")
    score, most = (_number(fields.pop(name), name) for name in ("score", "max_score"))
    layers = fields["layers"]
    if not isinstance(layers, dict) or len(layers) > 100:
        raise _Odd("has layers that are no object")
    katas = _list(fields["katas"], "katas", MOST_KATAS)
    report = Report(
        submission=_text(fields["submission"], "submission"),
        level=_text(fields["level"], "level", NAME),
        layers={_text(name, "layer"): _text(state, "layer") for name, state in layers.items()},
        seed_commitment=_text(fields["seed_commitment"], "seed_commitment", SHA256),
        upstream_sha256=_text(fields["upstream_sha256"], "upstream_sha256", SHA256),
        submission_sha256=_text(fields["submission_sha256"], "submission_sha256", SHA256),
        katas=tuple(_kata(kata) for kata in katas),
        seconds=_number(fields["seconds"], "seconds"),
    )
    if len({kata.id for kata in report.katas}) < len(katas):
        raise _Odd("has a kata twice")
    if not (math.isclose(score, report.score, abs_tol=0.005) and math.isclose(most, report.max_score, abs_tol=0.005)):
        raise _Odd("has a score that is not the sum of its points")
    return report


def _kata(found: Any) -> KataResult:
    fields = _fields(found, KataResult)
    points, most = (_number(fields[name], name) for name in ("points", "max_points"))
    if points > most:
        raise _Odd("has more points than there are")
    if fields["status"] not in get_args(Status):
        raise _Odd("has a status that does not exist")
    sha256 = fields["file_sha256"]
    return KataResult(
        id=_text(fields["id"], "kata", NAME),
        status=fields["status"],
        points=points,
        max_points=most,
        cases=tuple(_case(case) for case in _list(fields["cases"], "cases", MOST_CASES)),
        file_sha256=None if sha256 is None else _text(sha256, "file_sha256", SHA256),
        reason=_text(fields["reason"], "reason"),
        mistakes=tuple(_text(mistake, "mistake") for mistake in _list(fields["mistakes"], "mistakes", 1_000)),
    )


def _case(found: Any) -> CaseResult:
    fields = _fields(found, CaseResult)
    if not isinstance(fields["passed"], bool):
        raise _Odd("has a case that neither passed nor failed")
    return CaseResult(
        id=_text(fields["id"], "case"),
        passed=fields["passed"],
        reason=_text(fields["reason"], "reason"),
        seconds=_number(fields["seconds"], "seconds"),
    )


def _fields(found: Any, kind: type, *more: str) -> dict[str, Any]:
    names = {*kind.__dataclass_fields__, *more}  # type: ignore[attr-defined]
    if not isinstance(found, dict) or set(found) != names:
        raise _Odd(f"has a part with other fields than {', '.join(sorted(names))}")
    return dict(found)


def _list(found: Any, name: str, most: int) -> list[Any]:
    if not isinstance(found, list) or len(found) > most:
        raise _Odd(f"has {name} that are no list of at most {most}")
    return found


def _text(found: Any, name: str, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(found, str) or len(found) > MOST_TEXT or (pattern and not pattern.fullmatch(found)):
        raise _Odd(f"has a {name} that cannot be one")
    return found


def _number(found: Any, name: str) -> float:
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e9:
        raise _Odd(f"has {name} that cannot be a figure")
    return float(found)


def _no_constant(name: str) -> float:
    raise _Odd(f"has {name} for a number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Odd("says one field twice")
    return found
