"""Every format is valid for its platform, whatever text the submission put into its reasons."""

import json
import random
import re
import subprocess
import sys
import unicodedata
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree as ET

import jsonschema
import pytest
from markdown_it import MarkdownIt

from dojo.core.errors import UserError
from dojo.grading.reports import FORMATS, Context, read_context, read_report, render_formats
from dojo.grading.reports.__main__ import main
from dojo.grading.reports.escape import plain
from dojo.grading.reports.wording import cases_of
from dojo.grading.results import CaseResult, KataResult, KataStatus
from dojo.tests.grading.made_up_reports import HOSTILE, as_bytes, every_status, kata, report

SCHEMAS = Path(__file__).parent / "schemas"
JSON_FORMATS = ("classroom50", "classroom", "gradescope", "exercism")
CONTEXT = Context(owner="ada", datetime="2026-03-09T12:00:00Z", graded_at="2026-03-09T12:05:00Z")


def check(name, text):
    """Asserts that `text` is a valid file of the format `name`, and returns it parsed."""
    text.encode("utf-8")
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Co", "Cn") and c != "\n"]
    if name == "junit":
        return check_junit(text)
    if name == "summary":
        return check_summary(text)
    document = json.loads(text)
    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(document)
    return document


# element -> (its children, required attributes, all attributes); what pytest's and Jenkins' schemas have in common,
# `error` spelt as pytest writes it
JUNIT = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"properties", "testcase", "system-out"},
        {"name", "tests", "failures", "errors"},
        {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"},
    ),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, {"name", "value"}),
    "testcase": ({"failure", "error"}, {"name"}, {"name", "classname", "time"}),
    "failure": (set(), set(), {"message", "type"}),
    "error": (set(), set(), {"message", "type"}),
    "system-out": (set(), set(), set()),
}


def check_junit(text):
    root = ET.fromstring(text.encode("utf-8"))
    assert root.tag == "testsuites"
    for element in root.iter():
        children, required, attributes = JUNIT[element.tag]
        assert {child.tag for child in element} <= children
        assert required <= set(element.keys()) <= attributes
        assert re.fullmatch(r"[0-9]+\.[0-9]{3}", element.get("time", "0.000"))
    for suite in root.iter("testsuite"):
        assert int(suite.get("tests")) == len(suite.findall("testcase"))
        assert int(suite.get("failures")) == len(suite.findall("testcase/failure"))
        assert int(suite.get("errors")) == len(suite.findall("testcase/error"))
    for count in ("tests", "failures", "errors"):
        assert int(root.get(count)) == sum(int(suite.get(count)) for suite in root)
    return root


def check_summary(text):
    assert len(text.encode("utf-8")) <= 64_000
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inline = [child for token in tokens for child in token.children or ()]
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= {
        *("heading", "inline", "paragraph", "bullet_list", "list_item"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert {token.type for token in inline} <= {"text", "html_inline", "code_inline", "text_special"}
    assert {token.content for token in inline if token.type == "html_inline"} <= {"<code>", "</code>"}
    shown = "".join(token.content for token in inline)
    assert not re.search(r"://|@\w|www\.", shown, re.IGNORECASE)
    return tokens


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("situation", HOSTILE)
def test_a_hostile_text_leaves_every_format_valid(name, situation):
    """A submission chooses the messages of its exceptions, and the name of its folder."""
    text = FORMATS[name][1](every_status(HOSTILE[situation]), CONTEXT)
    check(name, text)
    assert not re.search(r"^\s*::|##\[", text, re.MULTILINE)
    assert len(text) < 200_000


@pytest.mark.parametrize("seed", range(20))
def test_random_texts_leave_every_format_valid(seed):
    """Pieces of the hostile texts and random code points, in every field that can quote a submission."""
    dice = random.Random(seed)

    def text():
        parts = [
            dice.choice([*HOSTILE.values(), "x", " "])[:400]
            if dice.random() < 0.7
            else chr(dice.choice([dice.randrange(0x300), dice.randrange(0xD700, 0xE000), dice.randrange(0x110000)]))
            for _ in range(dice.randrange(12))
        ]
        return "".join(parts)

    katas = []
    for n in range(dice.randrange(6)):
        cases = tuple(CaseResult(text(), dice.random() < 0.5, text()) for _ in range(dice.randrange(5)))
        status = dice.choice(get_args(KataStatus))
        katas.append(KataResult(f"kata_{n}", status, 1.5, 3.0, cases, None, text(), (text(),)))
    fuzzed = replace(report(*katas, submission=text()), layers={text(): text()})
    for name, (_, render) in FORMATS.items():
        check(name, render(fuzzed, CONTEXT))


@pytest.mark.parametrize("situation", HOSTILE)
def test_plain_text_is_printable_and_short(situation):
    """Escaping it again changes nothing."""
    once = plain(HOSTILE[situation], 120, lines=3)
    assert len(once) <= 120
    assert once.count("\n") <= 2
    assert all(c == "\n" or c.isprintable() for c in once)
    assert plain(once, 120, lines=3) == once
    assert "\n" not in plain(HOSTILE[situation])


def test_an_honest_reason_is_shown_as_it_is():
    """Escaping must not spoil the sentence that helps a learner."""
    sentence = (
        "p_sample raised ValueError: t must be in [0, 1000), got 1000; torch's aten::isclose disagrees — ünïcode too"
    )
    assert plain(sentence) == sentence
    result = report(kata(reason=sentence))
    output = check("gradescope", FORMATS["gradescope"][1](result, CONTEXT))["tests"][0]["output"]
    assert sentence in output
    assert f"case 0: {sentence}" not in output
    assert check("junit", FORMATS["junit"][1](result, CONTEXT)).find(".//failure").get("message") == sentence


def test_a_syntax_errors_caret_stays_under_its_place():
    """The reason of a file that cannot be parsed has several lines, and its indentation matters."""
    reason = "ddpm.py, line 3: invalid syntax\n    x = = 1\n        ^"
    text = FORMATS["gradescope"][1](report(kata(status="refused", reason=reason)), CONTEXT)
    assert check("gradescope", text)["tests"][0]["output"] == reason


@pytest.mark.parametrize("name", FORMATS)
def test_thousands_of_cases_are_rendered(name):
    """The summary leaves lines out and says how many. JUnit has all cases."""
    long = tuple(CaseResult(f"case {n}", False, f"{n} " + "|<@" * 100) for n in range(3_000))
    katas = [replace(kata(f"kata_{n}"), cases=long[: 3_000 if n == 0 else 20]) for n in range(50)]
    text = FORMATS[name][1](report(*katas), CONTEXT)
    check(name, text)
    if name == "summary":
        assert re.search(r"^\d+ more lines are left out here", text, re.MULTILINE)
    if name == "junit":
        assert text.count("<failure") == 3_000 + 49 * 20


@pytest.mark.parametrize("status", sorted({*get_args(KataStatus)} - {"pass"}))
@pytest.mark.parametrize("cases", [(), (CaseResult("a", True),), (CaseResult("a", False),)], ids=["none", "ok", "bad"])
def test_a_kata_that_does_not_pass_looks_passed_in_no_format(status, cases):
    """Not even if it has no cases. And it is never skipped: most readers do not count that as a failure."""
    failing = report(replace(kata(), status=status, cases=cases, points=0.0))
    files = {name: check(name, render(failing, CONTEXT)) for name, (_, render) in FORMATS.items()}
    suite = files["junit"].find("testsuite")
    bad = "error" if status == "error" else "failure"
    assert len(suite.findall(f"testcase/{bad}")) == sum(not case.passed for case in cases_of(failing.katas[0])) >= 1
    assert "skipped" not in {element.tag for element in suite.iter()}
    assert [test["passed"] for test in files["classroom50"]["tests"]] == [False]
    assert (
        files["classroom"]["status"]
        == files["classroom"]["tests"][0]["status"]
        == {"error": "error"}.get(status, "fail")
    )
    assert files["gradescope"]["tests"][0]["status"] == "failed"
    assert files["exercism"]["status"] == ("fail" if status == "fail" else "error")
    assert any(test["status"] != "pass" for test in files["exercism"]["tests"])
    assert "✅" not in FORMATS["summary"][1](failing, CONTEXT)


def test_a_kata_that_passes_looks_passed_in_every_format():
    """Status, points and text say so."""
    passing = report(kata("a", "pass"), kata("b", "pass"))
    files = {name: check(name, render(passing, CONTEXT)) for name, (_, render) in FORMATS.items()}
    assert files["junit"].attrib == {"name": "katas", "tests": "6", "failures": "0", "errors": "0", "time": "12.346"}
    assert (files["classroom50"]["score"], files["classroom50"]["max-score"]) == (2000, 2000)
    assert files["classroom"]["status"] == files["exercism"]["status"] == "pass"
    assert files["gradescope"]["score"] == 20.0
    assert "message" not in files["exercism"]
    assert "2 of 2 katas pass" in FORMATS["summary"][1](passing, CONTEXT)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_graded_is_no_pass(name):
    """A report without katas is valid, and passes in no format."""
    document = check(name, FORMATS[name][1](report(), CONTEXT))
    if name in ("classroom", "exercism"):
        assert document["status"] == "error"


@pytest.mark.parametrize("seed", range(10))
def test_whole_scores_lose_nothing(seed):
    """Scores in hundredths of a point add up to exactly the report's score, and none is above its maximum."""
    dice = random.Random(seed)
    katas = []
    for n in range(29):
        most = dice.choice([1.0, 10.0, 12.5, 3.33])
        katas.append(replace(kata(f"kata_{n}"), max_points=most, points=round(most * dice.random(), 2)))
    graded = report(*katas)
    for name in ("classroom50", "classroom"):
        document = check(name, FORMATS[name][1](graded, CONTEXT))
        most = document.get("max-score", document.get("max_score"))
        assert sum(test["score"] for test in document["tests"]) == round(graded.score * 100)
        assert most == round(graded.max_score * 100)
        assert all(type(test["score"]) is int for test in document["tests"])
    assert document["tests"][0]["score"] <= most
    gradescope = check("gradescope", FORMATS["gradescope"][1](graded, CONTEXT))
    assert round(sum(test["score"] for test in gradescope["tests"]), 2) == gradescope["score"] == graded.score


def test_the_platforms_environment_becomes_the_context():
    """Classroom 50 compares these fields with its own. A missing or odd value becomes a valid default."""
    now = datetime(2026, 3, 9, 12, tzinfo=UTC)
    context = read_context(
        {
            **{"CLASSROOM": "ml", "ASSIGNMENT": "ddpm", "ASSIGNMENT_TYPE": "group", "OWNER": "ada", "USERNAME": "x"},
            **{"SUBMISSION_TAG": "submit/2026-03-09T11-59-00Z-abc", "COMMIT_URL": "c", "RELEASE_URL": "r"},
            **{"GITHUB_ACTOR": "grace", "GITHUB_ACTOR_ID": "7", "KATA_SUBMITTED_AT": "2026-03-09T11:58:00Z"},
        },
        now,
    )
    document = check("classroom50", FORMATS["classroom50"][1](report(kata()), context))
    assert document["assignment_type"] == "group"
    assert (document["owner"], document["commit"], document["release"], document["review"]) == ("ada", "c", "r", "c")
    assert (document["datetime"], document["graded_at"]) == ("2026-03-09T11:58:00Z", "2026-03-09T12:00:00Z")
    assert document["submitted_by"] == {"username": "grace", "id": 7}
    check("classroom50", FORMATS["classroom50"][1](report(kata()), read_context({}, now)))
    odd = {"SUBMISSION_TAG": "v1", "KATA_SUBMITTED_AT": "today", "GITHUB_ACTOR_ID": "²", "ASSIGNMENT_TYPE": "\ud800"}
    check("classroom50", FORMATS["classroom50"][1](report(kata()), read_context({**odd, "GITHUB_ACTOR": "a"}, now)))


def test_two_formats_of_one_file_cannot_be_combined():
    """Gradescope and Exercism both require the name results.json."""
    with pytest.raises(UserError, match="both called"):
        render_formats(report(), ["gradescope", "exercism"], CONTEXT)
    with pytest.raises(UserError, match="no format"):
        render_formats(report(), ["xml"], CONTEXT)
    assert list(render_formats(report(), ["junit", "junit", "summary"], CONTEXT)) == ["junit.xml", "summary.md"]


@pytest.mark.parametrize("situation", HOSTILE)
def test_a_report_survives_being_written_and_read(situation):
    """So the publishing job renders the same files as the grading job would."""
    written = every_status(HOSTILE[situation][:50_000])
    schema = json.loads((SCHEMAS / "report.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(as_bytes(written)))
    assert read_report(as_bytes(written)) == written


def forged(path, value):
    document = json.loads(as_bytes(every_status()))
    *way, last = path
    part = document
    for step in way:
        part = part[step]
    part[last] = value
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"nonsense",
        b"\xff\xfe",
        b"[" * 100_000,
        b" " * (2**24 + 1),
        b'{"schema": "kata-grade/1"}',
        as_bytes(every_status()).replace(b'"level"', b'"level": "sealed", "level"', 1),
        forged(["schema"], "kata-grade/2"),
        forged(["score"], 1000),
        forged(["score"], float("nan")),
        forged(["seconds"], float("inf")),
        forged(["max_score"], 1e300),
        forged(["level"], "isolated\nscore=100"),
        forged(["extra"], 1),
        forged(["katas"], {}),
        forged(["katas", 0, "points"], 11.0),
        forged(["katas", 0, "points"], True),
        forged(["katas", 0, "status"], ["pass"]),
        forged(["katas", 0, "status"], "skipped"),
        forged(["katas", 0, "id"], "../../etc"),
        forged(["katas", 0, "id"], "kata_1"),
        forged(["katas", 0, "cases"], None),
        forged(["katas", 0, "cases", 0, "passed"], 1),
        forged(["katas", 0, "cases", 0, "reason"], 1),
        forged(["katas", 0, "cases", 0, "reason"], "x" * 200_000),
        forged(["katas", 0, "file_sha256"], "../x"),
        forged(["layers"], {"a": {}}),
    ],
)
def test_a_forged_report_is_refused_with_a_sentence(data):
    """The job that publishes does not trust the job that ran the submission."""
    with pytest.raises(UserError, match=r"^This is not a report .* Grade the submission again\.$"):
        read_report(data)


def test_a_report_that_nothing_was_graded_says_why():
    """`kata grade` writes such a report if it could not grade. It is not refused as forged."""
    with pytest.raises(UserError, match=r"^Nothing was graded: no such folder$"):
        read_report(b'{"schema": "kata-grade/1", "katas": [], "error": "no\\u001b[1m such folder"}')


def test_the_publishing_command_checks_and_renders(tmp_path, capsys):
    """It prints the values for the workflow's outputs, and refuses an invalid report without a traceback."""
    (tmp_path / "report.json").write_bytes(as_bytes(every_status()))
    formats = ["--format", "summary", "--format", "junit"]
    assert main([str(tmp_path / "report.json"), "--out", str(tmp_path / "out"), *formats, "--outputs"]) == 0
    assert capsys.readouterr().out.splitlines() == ["score=13.33", "max-score=50", "status=error", "level=sealed"]
    for name in ("summary", "junit"):
        check(name, (tmp_path / "out" / FORMATS[name][0]).read_text(encoding="utf-8"))
    (tmp_path / "report.json").write_text("{}")
    assert main([str(tmp_path / "report.json")]) == 2
    assert main([str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_rendering_needs_only_the_standard_library():
    """The publishing job installs no packages."""
    program = "import sys; import dojo.grading.reports.__main__; print(*{m.split('.')[0] for m in sys.modules})"
    ran = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert not set(ran.stdout.split()) - sys.stdlib_module_names - {"dojo", "__main__"}
