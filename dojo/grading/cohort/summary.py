"""What a teacher reads: one line for each submission, and one page about the class."""

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from statistics import mean, median

from dojo.core.catalog import Catalog
from dojo.core.pages import environment
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.grading.cohort.plan import Plan
from dojo.grading.cohort.similarity import Alike, alike, fingerprints
from dojo.grading.reports.escape import plain
from dojo.grading.results import KataResult

BINS = 10
STATUSES = ("pass", "fail", "refused", "not_attempted", "error")
FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # a spreadsheet would compute a cell that begins so


@dataclass
class KataSummary:
    """One kata in the class."""

    id: str
    title: str
    points: list[float] = field(default_factory=list)
    max_points: float = 10.0
    statuses: Counter[str] = field(default_factory=Counter)
    mistakes: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)  # case -> how many fail it

    @property
    def bins(self) -> list[int]:
        """How many got which tenth of the points, of those who tried; the last is the full mark alone."""
        counts = [0] * (BINS + 1)
        for points in self.points:
            counts[BINS if points >= self.max_points else int(BINS * points / self.max_points)] += 1
        return counts


@dataclass
class Summary:
    """The class."""

    scores: dict[str, float]
    rows: dict[str, tuple[KataResult, ...]]
    level: str
    max_score: float
    katas: list[KataSummary]
    trouble: dict[str, str]
    copies: list[tuple[str, list[str]]]  # kata, submissions that hold the same file
    pairs: list[tuple[Alike, list[str], list[str]]]

    @property
    def middle(self) -> float:
        return median(self.scores.values()) if self.scores else 0.0

    @property
    def average(self) -> float:
        return mean(self.scores.values()) if self.scores else 0.0


def summarise(
    checkout: Checkout, catalog: Catalog, plan: Plan, graded: dict[str, tuple[KataResult, ...]], level: str
) -> Summary:
    """From every submission's results."""
    katas: dict[str, KataSummary] = {}
    for results in graded.values():
        for result in results:
            entry = katas.setdefault(
                result.id, KataSummary(result.id, catalog[result.id].title, max_points=result.max_points)
            )
            entry.statuses[result.status] += 1
            entry.mistakes.update(result.mistakes)
            if result.status in ("pass", "fail", "refused"):
                entry.points.append(result.points)
            if result.status == "fail":
                entry.failing.update(case.id for case in result.cases if not case.passed)
    holders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, kata, file in plan.files():
        if (
            file.sha256
            and file.status == "ok"
            and fingerprints(plan.sources[kata, file.sha256].decode("utf-8", "replace"))
        ):
            holders[kata, file.sha256].append(name)
    scores = {name: round(sum(r.points for r in results), 2) for name, results in graded.items()}
    most = sum(entry.max_points for entry in katas.values())
    pairs = [
        (pair, holders[pair.kata, pair.a], holders[pair.kata, pair.b])
        for kata in katas
        for pair in _pairs(checkout, plan, kata)
    ]
    published = {(kata, _digest(checkout.reference(kata).read_bytes())) for kata in katas}
    copies = [
        (kata, names)
        for (kata, sha), names in sorted(holders.items())
        if len(names) > 1 and (kata, sha) not in published
    ]
    return Summary(scores, graded, level, most, list(katas.values()), plan.trouble, copies, pairs)


def _pairs(checkout: Checkout, plan: Plan, kata: str) -> list[Alike]:
    sources = {sha: source.decode("utf-8", "replace") for (k, sha), source in plan.sources.items() if k == kata}
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    others = [path.read_text(encoding="utf-8") for path in checkout.alternatives(kata)]
    return alike(kata, sources, [reference, stub(checkout, kata), *others])


def _digest(raw: bytes) -> str:
    import hashlib

    return hashlib.sha256(raw).hexdigest()


def as_csv(graded: dict[str, tuple[KataResult, ...]]) -> str:
    """One row a submission: its score, then points and status of each kata."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    katas = [result.id for result in next(iter(graded.values()), ())]
    writer.writerow(
        [
            "submission",
            "score",
            "max_score",
            *(f"{k} {what}" for k in katas for what in ("points", "status", "reason")),
        ]
    )
    for name, results in graded.items():
        row: list[object] = [cell(name), round(sum(r.points for r in results), 2), sum(r.max_points for r in results)]
        for result in results:
            row += [result.points, result.status, cell(result.reason)]
        writer.writerow(row)
    return file.getvalue()


def cell(text: str) -> str:
    """Text that a spreadsheet shows and does not compute."""
    shown = plain(text)
    return f"'{shown}" if shown.startswith(FORMULA) else shown


def as_page(summary: Summary) -> str:
    """The class as one HTML file that loads nothing."""
    pages = environment()
    pages.filters["plain"] = plain
    return pages.get_template("grading/cohort/page.html.jinja").render(summary=summary, bins=BINS, statuses=STATUSES)
