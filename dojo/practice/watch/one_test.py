"""One test in full, as `t` and Enter show it: why it failed, what it is for, its source, what your code printed in it."""

import ast
from dataclasses import dataclass
from functools import lru_cache

from rich.console import RenderableType
from rich.text import Text

from dojo.core.language import say
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.core.phrases import phrases_of
from dojo.practice.screen import VERDICT_MARKS, code, failure, paragraph, printed
from dojo.practice.terminal import Terminal


@dataclass(frozen=True)
class TestSource:
    """A test function: where it stands, its docstring, and its text with the decorators."""

    place: str  # "tests/ddpm/test_1_core.py, line 12"
    docstring: str
    text: str


def test_source(checkout: Checkout, outcome: Outcome) -> TestSource | None:
    """The function behind `outcome`; None where it cannot be found, as for a file that was not imported."""
    name = outcome.test.partition("[")[0]
    for file in checkout.test_files(outcome.kata):
        try:
            text = file.read_text(encoding="utf-8")
            node = _functions(text).get(name)
        except (OSError, SyntaxError, ValueError):
            continue
        if node:
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            lines = text.splitlines()[first - 1 : node.end_lineno]
            place = say("{file}, line {line}", file=checkout.shown(file), line=first)
            return TestSource(place, ast.get_docstring(node) or "", "\n".join(lines))
    return None


@lru_cache(maxsize=4)  # the files of a kata, whose tests are looked at one after the other
def _functions(source: str) -> dict[str, ast.FunctionDef]:
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return {node.name: node for node in reversed(nodes)}  # of two with one name the first


def page(terminal: Terminal, checkout: Checkout, outcome: Outcome) -> list[str]:
    """The page of one test."""
    mark, style = VERDICT_MARKS[outcome.verdict]
    parts: list[RenderableType] = ["", paragraph(f"{mark} {outcome.test}", f"bold {style}")]
    parts += failure(outcome.message)
    source = test_source(checkout, outcome)
    if source:
        in_a_line = " ".join(source.docstring.split())
        translation = phrases_of(checkout.tests(outcome.kata))(in_a_line)
        docstring = source.docstring if translation == in_a_line else translation
        parts += ["", paragraph(docstring, "italic")] if docstring else []
        parts += ["", Text(f" {source.place}", "dim"), code(terminal, source.text)]
    return terminal.lines(*parts, *printed(say("in {test}", test=outcome.test), outcome.printed))
