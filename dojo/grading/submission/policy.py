"""Layer 1: what a submission imports and calls, said before anything runs, in words that help.

It is no security boundary (rules.py). The files are parsed in a child, since a parser can be made to fail; a file that
takes the child down is refused, and the others go on with a new one.
"""

import ast
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dojo
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.grading.submission.intake import Taken

SECONDS = 5.0  # for one file; the longest that is accepted takes a tenth of one
PACKAGE = Path(dojo.__file__).resolve().parent.parent
START = "import sys; sys.path.append(sys.argv[1]); from dojo.grading.submission.policy_worker import main; main()"


@dataclass(frozen=True)
class Finding:
    """One thing to say about a file; advice unless it `refuses`."""

    line: int
    column: int
    message: str  # one sentence
    refuses: bool
    excerpt: str = ""  # of a syntax error: the line, and under it a caret

    def sentence(self, file: str) -> str:
        return f"{file}, line {self.line}: {self.message}"


def review(checkout: Checkout, taken: Iterable[Taken], *, seconds: float = SECONDS) -> dict[str, tuple[Finding, ...]]:
    """What is to be said about each file of one submission that was taken in and is `ok`."""
    files = [file for file in taken if file.status == "ok" and file.source is not None]
    return {file.kata: found for file, found in zip(files, review_each(checkout, files, seconds=seconds), strict=True)}


def review_each(checkout: Checkout, files: Iterable[Taken], *, seconds: float = SECONDS) -> list[tuple[Finding, ...]]:
    """The same for any files, several of one kata among them; what refuses comes first."""
    neighbours = [kata.name for kata in load_catalog(checkout).katas]
    rendered: dict[str, dict[str, Any]] = {}
    found: list[tuple[Finding, ...]] = []
    child: _Child | None = None
    try:
        for file in files:
            assert file.source is not None
            if file.kata not in rendered:
                reference = checkout.reference(file.kata).read_text(encoding="utf-8")
                rendered[file.kata] = {
                    "stub": stub(checkout, file.kata),
                    "reference": reference,
                    "banned": banned(checkout.probe(file.kata)),
                    "neighbours": neighbours,
                    "seconds": seconds,
                }
            child = child or _Child()
            answer = child.ask({"source": file.source.decode(), **rendered[file.kata]}, seconds)
            if isinstance(answer, str):
                child.end()
                child = None
                found.append((Finding(1, 1, answer, True),))
            else:
                found.append(tuple(Finding(*row) for row in answer))
    finally:
        if child:
            child.end()
    return found


def banned(probe: Path) -> tuple[str, ...]:
    """What the kata of this probe forbids: its constant FORBIDDEN, read without running it; nothing if it has none."""
    try:
        tree = ast.parse(probe.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{probe} cannot be read: {error}.") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(to, ast.Name) and to.id == "FORBIDDEN" for to in node.targets
        ):
            try:
                return tuple(map(str, ast.literal_eval(node.value)))
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{probe}, line {node.lineno}: FORBIDDEN must be a tuple of names in quotes."
                ) from error
    return ()


class _Child:
    """One parsing process; of no more use after an answer that is a sentence."""

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", START, str(PACKAGE)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )

    def ask(self, task: dict[str, Any], seconds: float) -> list[Any] | str:
        """The rows of findings, or why there are none."""
        assert self.process.stdin
        try:
            self.process.stdin.write(json.dumps(task).encode() + b"\n")
            self.process.stdin.flush()
            line = self._line(time.monotonic() + seconds)
        except TimeoutError:
            return f"Python does not finish reading this file within {seconds:g} seconds; write it in simpler pieces."
        except OSError:
            line = b""
        if not line:
            return "Python breaks down while it reads this file; write it in simpler pieces."
        return list(json.loads(line))

    def _line(self, deadline: float) -> bytes:
        assert self.process.stdout
        handle, line = self.process.stdout.fileno(), b""
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                if not (more := os.read(handle, 1 << 16)):
                    return b""
                line += more
        return line

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()
