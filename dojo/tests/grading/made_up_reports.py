"""Made-up reports, and texts that a hostile submission could put into them."""

import json
from typing import get_args

from dojo.grading.results import CaseResult, GradeReport, KataResult, KataStatus

HOSTILE = {
    "nothing": "",
    "blanks": " \t\r\n \u2028 ",
    "lone surrogates": "\ud800 and \udfff\udc80",
    "illegal in XML": "".join(map(chr, [*range(32), 0x7F, 0x85, 0xFFFE, 0xFFFF, 0x1FFFE])),
    "colours": "\x1b[31mPASSED\x1b[0m \x9b1A \x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \x1b[",
    "an unfinished title": "\x1b]0;" + "x" * 9000,
    "bidirectional": "\u202e\u2066drawkcab\u2069\u200f\u061c",
    "invisible": "a\u200b\u2060\ufeff\u00ad\U000e0041b",
    "Zalgo": "Z" + "\u0300\u0489" * 5000,
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)><!-- & -->",
    "closing our own": "</code></td></table></failure></testcase></testsuite>]]> '/>",
    "entities": "&lt;b&gt; &#60;b&#62; &amp; &nbsp;",
    "a picture": "![p](https://evil.example/p.png) [l](javascript:alert(1)) [r]: https://evil.example <https://a.b>",
    "bare links": "https://evil.example www.evil.example mail@evil.example ftp://x.y WWW.evil.example",
    "mentions": "@everyone @octocat/team #1 GH-1 octo/repo#1 deadbeef :tada: $x^2$ $$y$$",
    "markdown": "# h1\n- [x] done\n> quote\n***\n| a | b |\n| - | - |\n```\n~~~\n`x` **b** _i_ ~~s~~ \\| \\` [^1]: n",
    "a table cell": "| ✅ | 10 / 10 |\n| x | y |",
    "commands": "::set-output name=score::100\n  ::add-mask::a\r::error file=x::y\n##[set-env name=PATH]z\n::stop-commands::t",
    "an output file": "x\nscore=100\nEOF\nscore<<EOF",
    "a formula": "=HYPERLINK(1) {{7*7}} ${jndi:x} ${{ secrets.TOKEN }} %s %n",
    "json": '"}], "score": 1000, "tests": [{"a": "\\u0000',
    "a megabyte": "A<|`@" * 200_000,
    "a megabyte of newlines": "\n::error::" * 100_000,
    "far away": "\U0010fffd\U0001f600é日本語\u0627\u0644",
}


def kata(name="tiny", status="fail", reason="", **more):
    """A result of one kata with three cases. If the status is "fail", the first of them passes."""
    ran = status in ("pass", "fail")
    cases = tuple(
        CaseResult(f"case {n}", status == "pass" or (ran and n == 0), "" if status == "pass" else reason, 0.25)
        for n in range(3)
    )
    points = {"pass": 10.0, "fail": 3.33}.get(status, 0.0)
    return KataResult(name, status, points, 10.0, cases, "ab" * 32, reason, (), **more)


def report(*katas, submission="ada", **more):
    return GradeReport(submission, "sealed", {"policy": "on"}, "0" * 64, "1" * 64, "2" * 64, katas, 12.3456, **more)


def every_status(text="the loss is 2, expected 1"):
    return report(*(kata(f"kata_{n}", status, text) for n, status in enumerate(get_args(KataStatus))), submission=text)


def as_bytes(report):
    return json.dumps(report.as_dict()).encode()
