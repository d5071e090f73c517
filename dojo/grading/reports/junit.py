"""JUnit XML as pytest and Jenkins write and read it: one suite for each kata, one test case for each case.

A refused kata fails; it is never "skipped", which most readers count as fine. A fault of the grader's is an `error`.
"""

from xml.etree import ElementTree as ET

from dojo.grading.reports.context import Context, account, cases_of, figure
from dojo.grading.reports.escape import plain
from dojo.grading.results import KataResult, Report


def render(report: Report, context: Context) -> str:
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
    broken = kata.status == "error"
    suite = ET.SubElement(
        root,
        "testsuite",
        name=plain(kata.id),
        tests=str(len(cases)),
        failures=str(0 if broken else failed),
        errors=str(failed if broken else 0),
        skipped="0",
        time=f"{max(sum(case.seconds for case in cases), 0):.3f}",
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in (
        ("status", kata.status),
        ("points", figure(kata.points)),
        ("max_points", figure(kata.max_points)),
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
            kind = "error" if broken else "failure"
            said = plain(case.reason) or plain(kata.reason) or "failed"
            ET.SubElement(test, kind, type=kata.status, message=said).text = plain(case.reason, 2000, lines=12) or said
    if kata.status != "pass":
        ET.SubElement(suite, "system-out").text = account(kata)
    return suite
