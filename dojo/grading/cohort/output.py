"""Writes the files of `kata grade-cohort`: a report for each submission, two tables, and a page."""

import json
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.grading.cohort import summary
from dojo.grading.cohort.plan import Plan
from dojo.grading.cohort.summary import CohortSummary
from dojo.grading.grader import Grader
from dojo.grading.results import KataResult


def write_class(
    out: Path, catalog: Catalog, plan: Plan, graded: dict[str, tuple[KataResult, ...]], grader: Grader
) -> tuple[CohortSummary, list[str]]:
    """Writes everything into `out`. Returns the summary of the class, and a sentence for each file that was not written.

    One that cannot be written does not keep the others from being written.
    """
    texts: dict[Path, str] = {}
    for name, results in graded.items():
        report = grader.report(name, plan.submissions[name], results, 0.0)
        texts[out / "submissions" / name / "report.json"] = json.dumps(report.as_dict(), ensure_ascii=True) + "\n"
    cohort = summary.summarise(grader.checkout, catalog, plan, graded, grader.selftest.level)
    texts[out / "cohort.csv"] = summary.scores_as_csv(graded)
    texts[out / "similar.csv"] = summary.similar_as_csv(cohort)
    texts[out / "index.html"] = summary.as_page(cohort)
    unwritten = []
    for file, text in texts.items():
        try:
            write(file, text)
        except UserError as error:
            unwritten.append(str(error))
    return cohort, unwritten
