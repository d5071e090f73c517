"""The policy: finds what a file imports or calls that an answer may not, before anything of it runs.

It is no security boundary (rules.py says why). Files are parsed in a child process, because some sources crash Python's
parser or keep it busy for ever. A file that does so twice is refused, and a new child parses the next one.
"""

import ast
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import dojo
from dojo.core.catalog import load_catalog
from dojo.core.cores import slowdown
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.grading.submission import policy_worker
from dojo.grading.submission.finding import Finding
from dojo.grading.submission.intake import SubmittedFile

FILE_TIMEOUT_S = 5.0  # of computing; parsing the longest file that intake accepts takes a tenth of it
WAIT_FACTOR = 4  # how much longer the parser may take than it computes, on a machine that has other things to do
START_TIMEOUT_S = 30.0
PACKAGE_ROOT = Path(dojo.__file__).resolve().parent.parent
START = f"import sys; sys.path.append(sys.argv[1]); from {policy_worker.__name__} import main; main()"


def review(
    checkout: Checkout, files: Iterable[SubmittedFile], *, timeout_s: float = FILE_TIMEOUT_S
) -> dict[str, tuple[Finding, ...]]:
    """The findings by kata, for those files of one submission whose status is "ok"."""
    readable = [file for file in files if file.status == "ok" and file.source is not None]
    findings = review_each(checkout, readable, timeout_s=timeout_s)
    return {file.kata: of_file for file, of_file in zip(readable, findings, strict=True)}


def review_each(
    checkout: Checkout, files: Iterable[SubmittedFile], *, timeout_s: float = FILE_TIMEOUT_S
) -> list[tuple[Finding, ...]]:
    """The findings of each file, refusals first. Several files may be of one kata; all must have a source."""
    neighbours = [kata.name for kata in load_catalog(checkout).katas]
    requests: dict[str, dict[str, Any]] = {}
    findings: list[tuple[Finding, ...]] = []
    parser: _Parser | None = None
    try:
        for file in files:
            assert file.source is not None
            if file.kata not in requests:
                reference = checkout.reference(file.kata).read_text(encoding="utf-8")
                requests[file.kata] = {
                    "stub": stub(checkout, file.kata),
                    "reference": reference,
                    "forbidden": read_forbidden(checkout.probe(file.kata)),
                    "neighbours": neighbours,
                    "timeout_s": timeout_s,
                }
            request = {"source": file.source.decode(), **requests[file.kata]}
            for _ in range(2):  # the first child may have been killed from outside
                parser = parser or _Parser()
                answer = parser.examine(request, timeout_s)
                if not isinstance(answer, str):
                    break
                parser.close()
                parser = None
            if isinstance(answer, str):
                findings.append((Finding(1, 1, answer, True),))
            else:
                findings.append(tuple(Finding(*row) for row in answer))
    finally:
        if parser:
            parser.close()
    return findings


def read_forbidden(probe: Path) -> tuple[str, ...]:
    """The constant FORBIDDEN of a probe file, read without running it; empty if the file or the constant is missing."""
    try:
        tree = ast.parse(probe.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise UserError(f"{probe} cannot be read: {error}.") from error
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "FORBIDDEN" for target in node.targets
        ):
            try:
                return tuple(map(str, ast.literal_eval(node.value)))
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{probe}, line {node.lineno}: FORBIDDEN must be a tuple of names in quotes."
                ) from error
    return ()


class _Parser:
    """One child process that parses. Close it, and start another, after an answer that is a sentence.

    Raises UserError if the child does not start.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", START, str(PACKAGE_ROOT)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ.get("PATH", "")},
            start_new_session=True,
        )
        ready = b""
        with suppress(TimeoutError, OSError):
            ready = self._read_line(time.monotonic() + START_TIMEOUT_S * slowdown())
        if not ready:
            self.close()
            raise UserError("The process that reads the files did not start. Try again; perhaps memory has run out.")

    def examine(self, request: dict[str, Any], timeout_s: float) -> list[Any] | str:
        """The rows of findings, or a sentence that says why the file could not be parsed."""
        assert self.process.stdin
        too_long = f"Python does not finish reading this file within {timeout_s:g} seconds; write it in simpler pieces."
        try:
            self.process.stdin.write(json.dumps(request).encode() + b"\n")
            self.process.stdin.flush()
            line = self._read_line(time.monotonic() + WAIT_FACTOR * timeout_s * slowdown())
        except TimeoutError:
            return too_long
        except OSError:
            line = b""
        if not line:
            if self.process.wait() == -signal.SIGXCPU:
                return too_long
            return "Python breaks down while it reads this file; write it in simpler pieces."
        return list(json.loads(line))

    def _read_line(self, deadline: float) -> bytes:
        """A line of the child's output; empty if it ended. Raises TimeoutError."""
        assert self.process.stdout
        handle, line = self.process.stdout.fileno(), b""
        with selectors.DefaultSelector() as selector:
            selector.register(handle, selectors.EVENT_READ)
            while not line.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
                if not (part := os.read(handle, 1 << 16)):
                    return b""
                line += part
        return line

    def close(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()
