"""JUnit XML as pytest and Jenkins write and read it: one suite for each kata, one test case for each case.

A refused kata fails. It is never "skipped", which most readers do not count as a failure. A fault of the grader is an
`error`.
"""

from xml.etree import ElementTree as ET

from dojo.grading.reports.context import Context
from dojo.grading.reports.escape import plain
from dojo.grading.reports.wording import cases_of, decimal, full_reason
from dojo.grading.results import GradeReport, KataResult


def render(report: GradeReport, context: Context) -> str:
    """The file for `--format junit`."""
    root = ET.Element("testsuites", name="katas")
    suites = [_suite(root, kata) for kata in report.katas]
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.set("time", f"{max(report.seconds, 0):.3f}")
    for suite in suites:
        suite.set("timestamp", context.graded_at)
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _suite(root: ET.Element, kata: KataResult) -> ET.Element:
    cases = cases_of(kata)
    failed = sum(not case.passed for case in cases)
    grader_failed = kata.status == "error"
    suite = ET.SubElement(
        root,
        "testsuite",
        name=plain(kata.id),
        tests=str(len(cases)),
        failures=str(0 if grader_failed else failed),
        errors=str(failed if grader_failed else 0),
        skipped="0",
        time=f"{max(sum(case.seconds for case in cases), 0):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("status", kata.status),
        ("points", decimal(kata.points)),
        ("max_points", decimal(kata.max_points)),
    ):
        ET.SubElement(properties, "property", name=name, value=value)
    for case in cases:
        test = ET.SubElement(
            suite,
            "testcase",
            classname=f"katas.{plain(kata.id)}",
            name=plain(case.id),
            time=f"{max(case.seconds, 0):.3f}",
        )
        if not case.passed:
            element = "error" if grader_failed else "failure"
            message = plain(case.reason) or plain(kata.reason) or "failed"
            failure = ET.SubElement(test, element, type=kata.status, message=message)
            failure.text = plain(case.reason, 2000, lines=12) or message
    if kata.status != "pass":
        ET.SubElement(suite, "system-out").text = full_reason(kata)
    return suite
