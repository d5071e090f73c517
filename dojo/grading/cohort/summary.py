"""Summarises a class for its teacher: one line for each submission, and one page."""

import csv
import hashlib
import io
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import dojo
from dojo.core.catalog import Catalog
from dojo.core.pages import environment
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.grading.cohort.plan import FileKey, Plan
from dojo.grading.cohort.similarity import SimilarPair, find_similar, fingerprints
from dojo.grading.reports.escape import plain
from dojo.grading.results import KataResult

PAGE = Path(__file__).with_name("page.html.jinja").relative_to(Path(dojo.__file__).parent).as_posix()
BINS = 10
STATUSES = ("pass", "fail", "refused", "not_attempted", "error")
# A spreadsheet takes a cell that begins with one of these for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
# It shows 007 as 7, 1e5 as 100000, 3-4 and mar1 as days, and a whole number of more than 15 digits with zeros at its end.
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
NUMBER_OR_DATE = re.compile(
    rf"(?i)[\d\s.,:/%$€-]*\d(?:e[+-]?\d+|[\d\s.,:/%$€-])*(?:\s?[ap]m?)?|(?=\D*\d)\d*[-/. ]?{MONTH}[-/. ]?\d*|true|false"
)
WHOLE_NUMBER = re.compile(r"0|[1-9]\d{0,14}")


@dataclass
class KataSummary:
    """The results of one kata in the class."""

    id: str
    title: str
    points: list[float] = field(default_factory=list)  # of those who tried
    max_points: float = 10.0
    statuses: Counter[str] = field(default_factory=Counter)
    mistakes: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)  # case -> how many fail it

    @property
    def bins(self) -> list[int]:
        """How many of those who tried have which tenth of the points. One more bin counts full marks."""
        counts = [0] * (BINS + 1)
        for points in self.points:
            counts[BINS if points >= self.max_points else int(BINS * points / self.max_points)] += 1
        return counts


@dataclass
class CohortSummary:
    """The results of the class."""

    scores: dict[str, float]
    results: dict[str, tuple[KataResult, ...]]
    level: str
    max_score: float
    katas: list[KataSummary]
    unreadable: dict[str, str]
    copies: list[tuple[str, list[str]]]  # kata, submissions that hold the same file
    pairs: list[tuple[SimilarPair, list[str], list[str]]]  # the pair, submissions that hold the one and the other file

    @property
    def marks(self) -> list[float]:
        """The scores of the submissions that could be graded in full."""
        return [score for name, score in self.scores.items() if not _has_fault(self.results[name])]

    @property
    def median(self) -> float:
        return statistics.median(self.marks) if self.marks else 0.0

    @property
    def mean(self) -> float:
        return statistics.mean(self.marks) if self.marks else 0.0


def _has_fault(results: tuple[KataResult, ...]) -> bool:
    """Whether the grader failed on one of these, so that their sum is no score."""
    return any(result.status == "error" for result in results)


def summarise(
    checkout: Checkout, catalog: Catalog, plan: Plan, graded: dict[str, tuple[KataResult, ...]], level: str
) -> CohortSummary:
    """The summary of `graded`, which maps each submission to its results."""
    katas = _summarise_katas(catalog, graded)
    holders = _holders(plan)
    pairs = [
        (pair, holders[pair.kata, pair.a], holders[pair.kata, pair.b])
        for kata in katas
        for pair in _similar_pairs(checkout, plan, kata)
    ]
    references = {(kata, hashlib.sha256(checkout.reference(kata).read_bytes()).hexdigest()) for kata in katas}
    copies = [(key[0], names) for key, names in sorted(holders.items()) if len(names) > 1 and key not in references]
    return CohortSummary(
        scores={name: round(sum(r.points for r in results), 2) for name, results in graded.items()},
        results=graded,
        level=level,
        max_score=sum(kata.max_points for kata in katas.values()),
        katas=list(katas.values()),
        unreadable=plan.unreadable,
        copies=copies,
        pairs=pairs,
    )


def _summarise_katas(catalog: Catalog, graded: dict[str, tuple[KataResult, ...]]) -> dict[str, KataSummary]:
    katas: dict[str, KataSummary] = {}
    for results in graded.values():
        for result in results:
            kata = katas.setdefault(
                result.id, KataSummary(result.id, catalog[result.id].title, max_points=result.max_points)
            )
            kata.statuses[result.status] += 1
            kata.mistakes.update(result.mistakes)
            if result.status in ("pass", "fail", "refused"):
                kata.points.append(result.points)
            if result.status == "fail":
                kata.failing.update(case.id for case in result.cases if not case.passed)
    return katas


def _holders(plan: Plan) -> dict[FileKey, list[str]]:
    """The submissions that hold each file. Files that are too short to compare are left out."""
    comparable = {key for key, source in plan.sources.items() if fingerprints(_text(source))}
    holders: dict[FileKey, list[str]] = defaultdict(list)
    for submission, file in plan.files():
        key = (file.kata, file.sha256 or "")
        if file.status == "ok" and key in comparable:
            holders[key].append(submission)
    return holders


def _similar_pairs(checkout: Checkout, plan: Plan, kata: str) -> list[SimilarPair]:
    sources = {sha256: _text(source) for (of_kata, sha256), source in plan.sources.items() if of_kata == kata}
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    alternatives = [path.read_text(encoding="utf-8") for path in checkout.alternatives(kata)]
    return find_similar(kata, sources, [reference, stub(checkout, kata), *alternatives])


def _text(source: bytes) -> str:
    return source.decode("utf-8", "replace")


def scores_as_csv(graded: dict[str, tuple[KataResult, ...]]) -> str:
    """One row for each submission: its score, then points, status and reason of each kata.

    Where the grader failed there are no points, and no score.
    """
    katas = [result.id for result in next(iter(graded.values()), ())]
    columns = [f"{kata} {column}" for kata in katas for column in ("points", "status", "reason")]
    rows: list[list[object]] = [["submission", "score", "max_score", *columns]]
    for name, results in graded.items():
        score, max_score = round(sum(r.points for r in results), 2), sum(r.max_points for r in results)
        row: list[object] = [csv_cell(name), "" if _has_fault(results) else score, max_score]
        for result in results:
            row += ["" if result.status == "error" else result.points, result.status, csv_cell(result.reason)]
        rows.append(row)
    return _csv(rows)


def similar_as_csv(summary: CohortSummary) -> str:
    """One row for each file that several submissions hold, and one for each similar pair.

    The names in one cell are separated by " / ", since no name of a folder has a slash.
    """
    rows: list[list[object]] = [["kata", "share", "submissions", "and"]]
    rows += [[kata, 1, _names_cell(names), ""] for kata, names in summary.copies]
    rows += [[pair.kata, pair.share, _names_cell(a), _names_cell(b)] for pair, a, b in summary.pairs]
    return _csv(rows)


def _csv(rows: list[list[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(rows)
    return file.getvalue()


def _names_cell(names: list[str]) -> str:
    shown = " / ".join(map(plain, names))
    return f"'{shown}" if _would_change(shown) else shown


def csv_cell(text: str) -> str:
    """`text` so that a spreadsheet shows it as it is: with an apostrophe before it, if it would become something else."""
    shown = plain(text)
    return f"'{shown}" if _would_change(shown) else shown


def _would_change(text: str) -> bool:
    """Whether a spreadsheet takes `text` for a formula, or shows it as another number, a date or a truth value."""
    if text.startswith(FORMULA_STARTS):
        return True
    return bool(NUMBER_OR_DATE.fullmatch(text)) and not WHOLE_NUMBER.fullmatch(text)


def as_page(summary: CohortSummary) -> str:
    """The class as one HTML file that loads nothing."""
    pages = environment()
    pages.filters["plain"] = plain
    return str(pages.get_template(PAGE).render(summary=summary, statuses=STATUSES))
