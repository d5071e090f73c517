"""The process that parses what was submitted: one JSON line in, one out. It compiles, and runs nothing of it.

A parser can be made to crash, to loop or to eat memory; then this process is lost, and the parent blames the one file.
"""

import ast
import json
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

from dojo.grading.submission.names import find_spellings
from dojo.grading.submission.signatures import find_differences

MEMORY = 1 << 30
UNREADABLE = "Python {}.{}, which grades, cannot read this".format(*sys.version_info)  # a newer one might
MOST = 40  # findings of one file
Row = list[Any]  # line, column, message, refuses, excerpt


def main() -> None:
    """Answers until the parent closes the pipe."""
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        task = json.loads(line)
        busy = int(time.process_time()) + int(task["seconds"]) + 2  # should the parent not be there to end it
        resource.setrlimit(resource.RLIMIT_CPU, (busy, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        rows = list(_examine(task))
        rows.sort(key=lambda row: (not row[3], row[0], row[1]))
        print(json.dumps(rows[:MOST]), flush=True)


def _examine(task: dict[str, Any]) -> Iterator[Row]:
    source, stub = task["source"], task["stub"]
    sys.setrecursionlimit(1000)  # as where the kata will run
    try:
        tree = ast.parse(source)
        compile(source, "kata", "exec", dont_inherit=True)  # `return` outside a function is found only here
    except SyntaxError as error:
        yield _syntax(error, source)
        return
    except (RecursionError, MemoryError):
        yield [1, 1, "This is nested too deeply for Python to read; use a loop or a list.", True, ""]
        return
    except (ValueError, OverflowError) as error:  # a number of too many digits, say
        yield [1, 1, f"{UNREADABLE}: {_plain(str(error))}.", True, ""]
        return
    sys.setrecursionlimit(5000)
    seen = set()
    for line, column, message, refuses in find_spellings(tree, task["banned"], set(task["neighbours"])):
        if (line, message) not in seen:
            seen.add((line, message))
            yield [line, column, _plain(message), refuses, ""]
    try:
        differences = list(find_differences(tree, ast.parse(stub), ast.parse(task["reference"])))
    except RecursionError:
        return  # no advice, then
    for line, column, message, refuses in differences:
        yield [line, column, _plain(message), refuses, ""]


def _syntax(error: SyntaxError, source: str) -> Row:
    line, column = max(error.lineno or 1, 1), max(error.offset or 1, 1)
    lines = source.split("\n")
    text = lines[line - 1] if line <= len(lines) else ""
    shown = "".join(char if char.isprintable() else " " for char in text)
    place = min(column, len(shown) + 1) - 1
    cut = max(0, place - 100)  # a caret that follows 300 characters is of no use
    excerpt = f"{shown[cut : cut + 160]}\n{' ' * (place - cut)}^"
    return [line, column, f"{UNREADABLE}: {_plain(error.msg)}.", True, excerpt]


def _plain(text: str) -> str:
    """At most 300 characters, none of which moves a cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)[:300]


if __name__ == "__main__":
    main()
