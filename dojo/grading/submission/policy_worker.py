"""The child process of the policy: reads one JSON request a line, writes the findings as one line. Runs no submitted code.

Some sources crash the parser, keep it busy or use up its memory. Then this process dies, and the parent refuses that
one file.
"""

import ast
import json
import math
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

from dojo.grading.submission.finding import Finding
from dojo.grading.submission.names import check_names
from dojo.grading.submission.signatures import compare_signatures

MAX_MEMORY_BYTES = 1 << 30
MAX_FINDINGS = 40
MAX_MESSAGE_CHARACTERS = 300
PARSER_RECURSION_LIMIT = 1000  # Python's default, which also holds where the kata is run
WALK_RECURSION_LIMIT = 5000  # for our own functions on a tree that the parser has accepted
# The version matters: a newer Python may accept the file.
UNREADABLE = "Python {}.{}, which grades, cannot read this".format(*sys.version_info)


def main() -> None:
    """Answers requests until the parent closes the pipe."""
    import resource  # POSIX only; the parent imports this module on any system, for its name

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        # SIGXCPU ends this process: what counts is the time that it computes, and not how busy the machine is.
        cpu_limit_s = math.ceil(time.process_time() + request["timeout_s"])
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit_s, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        findings = sorted(_examine(request), key=lambda finding: (not finding.refuses, finding.line, finding.column))
        print(json.dumps([astuple(finding) for finding in findings[:MAX_FINDINGS]]), flush=True)


def _examine(request: dict[str, Any]) -> Iterator[Finding]:
    source, stub = request["source"], request["stub"]
    sys.setrecursionlimit(PARSER_RECURSION_LIMIT)
    try:
        tree = ast.parse(source)
        compile(source, "kata", "exec", dont_inherit=True)  # `ast.parse` accepts `return` outside a function
    except SyntaxError as error:
        yield _syntax_error(error, source)
        return
    except (RecursionError, MemoryError):
        yield Finding(1, 1, "This is nested too deeply for Python to read; use a loop or a list.", True)
        return
    except (ValueError, OverflowError) as error:  # for example an integer of too many digits
        yield Finding(1, 1, f"{UNREADABLE}: {_printable(str(error))}.", True)
        return
    sys.setrecursionlimit(WALK_RECURSION_LIMIT)
    reported = set()
    for finding in check_names(tree, request["forbidden"], set(request["neighbours"])):
        if (finding.line, finding.message) not in reported:
            reported.add((finding.line, finding.message))
            yield replace(finding, message=_printable(finding.message))
    try:
        differences = list(compare_signatures(tree, ast.parse(stub), ast.parse(request["reference"])))
    except RecursionError:
        return  # signatures are advice, so a file is not refused for them
    for finding in differences:
        yield replace(finding, message=_printable(finding.message))


def _syntax_error(error: SyntaxError, source: str) -> Finding:
    line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
    lines = source.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    shown = "".join(char if char.isprintable() else " " for char in text)
    caret = min(column, len(shown) + 1) - 1
    start = max(0, caret - 100)  # of a long line only the part around the caret is shown
    excerpt = f"{shown[start : start + 160]}\n{' ' * (caret - start)}^"
    return Finding(line, column, f"{UNREADABLE}: {_printable(error.msg)}.", True, excerpt)


def _printable(text: str) -> str:
    """At most 300 characters, with a question mark for each that could move a cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_MESSAGE_CHARACTERS]


if __name__ == "__main__":
    main()
