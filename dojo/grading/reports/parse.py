"""Reads a report.json that another job wrote, and trusts nothing in it: that job ran a submission.

Only what `GradeReport.as_dict` writes is accepted: exactly its fields, of the declared types, with finite numbers that
add up.
"""

import json
import math
import re
from typing import Any, get_args

from dojo.core.errors import UserError
from dojo.grading.reports.escape import plain
from dojo.grading.results import SCHEMA, CaseResult, GradeReport, KataResult, KataStatus

MAX_REPORT_BYTES = 16 * 2**20
MAX_KATAS = 1_000
MAX_CASES = 10_000  # of a kata
MAX_MISTAKES = 1_000  # of a kata
MAX_LAYERS = 100
MAX_TEXT_CHARACTERS = 100_000
SHA256 = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[a-z0-9_]{1,80}")


class _Invalid(Exception):
    """The report is not valid. The text completes the sentence "it ..."."""


def read_report(data: bytes) -> GradeReport:
    """The report in `data`. Raises UserError with the reason if it is not valid."""
    try:
        if len(data) > MAX_REPORT_BYTES:
            raise _Invalid(f"is larger than {MAX_REPORT_BYTES >> 20} MB")
        document = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique_fields)
        return _report(document)
    except (_Invalid, ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _Invalid) else "is no JSON"
        raise UserError(
            f"This is not a report that `kata grade` wrote: it {reason}. Grade the submission again."
        ) from None


def _report(document: Any) -> GradeReport:
    if isinstance(document, dict) and isinstance(document.get("error"), str):
        raise UserError(f"Nothing was graded: {plain(document['error'], 500)}")
    fields = _fields(document, GradeReport, "schema", "score", "max_score")
    if fields.pop("schema") != SCHEMA:
        raise _Invalid(f"does not say {SCHEMA}")
    score, max_score = (_number(fields.pop(name), name) for name in ("score", "max_score"))
    layers = fields["layers"]
    if not isinstance(layers, dict) or len(layers) > MAX_LAYERS:
        raise _Invalid("has layers that are no object")
    katas = _list(fields["katas"], "katas", MAX_KATAS)
    report = GradeReport(
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
        raise _Invalid("has a kata twice")
    sums = ((score, report.score), (max_score, report.max_score))
    if not all(math.isclose(stated, computed, abs_tol=0.005) for stated, computed in sums):
        raise _Invalid("has a score that is not the sum of its points")
    return report


def _kata(value: Any) -> KataResult:
    fields = _fields(value, KataResult)
    points, max_points = (_number(fields[name], name) for name in ("points", "max_points"))
    if points > max_points:
        raise _Invalid("has more points than there are")
    if fields["status"] not in get_args(KataStatus):
        raise _Invalid("has a status that does not exist")
    sha256 = fields["file_sha256"]
    return KataResult(
        id=_text(fields["id"], "kata", NAME),
        status=fields["status"],
        points=points,
        max_points=max_points,
        cases=tuple(_case(case) for case in _list(fields["cases"], "cases", MAX_CASES)),
        file_sha256=None if sha256 is None else _text(sha256, "file_sha256", SHA256),
        reason=_text(fields["reason"], "reason"),
        mistakes=tuple(_text(mistake, "mistake") for mistake in _list(fields["mistakes"], "mistakes", MAX_MISTAKES)),
    )


def _case(value: Any) -> CaseResult:
    fields = _fields(value, CaseResult)
    if not isinstance(fields["passed"], bool):
        raise _Invalid("has a case that neither passed nor failed")
    return CaseResult(
        id=_text(fields["id"], "case"),
        passed=fields["passed"],
        reason=_text(fields["reason"], "reason"),
        seconds=_number(fields["seconds"], "seconds"),
    )


def _fields(value: Any, result: type, *more: str) -> dict[str, Any]:
    """A copy of `value` if it is an object with exactly the fields of the dataclass `result` and `more`."""
    names = {*result.__dataclass_fields__, *more}  # type: ignore[attr-defined]  # `type` has no protocol for dataclasses
    if not isinstance(value, dict) or set(value) != names:
        raise _Invalid(f"has a part with other fields than {', '.join(sorted(names))}")
    return dict(value)


def _list(value: Any, name: str, max_length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > max_length:
        raise _Invalid(f"has {name} that are no list of at most {max_length}")
    return value


def _text(value: Any, name: str, pattern: re.Pattern[str] | None = None) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT_CHARACTERS or (pattern and not pattern.fullmatch(value)):
        raise _Invalid(f"has a {name} that cannot be one")
    return value


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise _Invalid(f"has {name} that cannot be a figure")
    return float(value)


def _refuse_constant(name: str) -> float:
    """Refuses NaN, Infinity and -Infinity, which Python's JSON accepts."""
    raise _Invalid(f"has {name} for a number")


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise _Invalid("says one field twice")
    return fields
