"""The docstrings of a stub, paragraph by paragraph, as they are translated."""

import ast
import textwrap
from collections.abc import Callable

from dojo.core import wide

WIDTH = 100  # of a translated docstring's lines, in columns
FILE = "stub.toml"  # stub.zh.toml in the kata's folder holds their translation


def paragraphs(docstring: str) -> list[str]:
    """The paragraphs of `docstring`: prose in one line, formulas and tables as they stand."""
    return [one_line(paragraph) for paragraph in docstring.strip("\n").split("\n\n")]


def one_line(paragraph: str) -> str:
    """Prose without its line breaks; what is laid out in lines unchanged."""
    return paragraph if "\n " in paragraph or paragraph.startswith(" ") else " ".join(paragraph.split())


def translated(docstring: str, texts: Callable[[str], str]) -> str:
    """`docstring` with what `texts` says in place of each paragraph; its line breaks stay where it says the same."""
    parts = docstring.strip("\n").split("\n\n")
    translations = [texts(one_line(part)) for part in parts]
    pairs = zip(parts, translations, strict=True)
    return "\n\n".join(part if translation == one_line(part) else translation for part, translation in pairs)


def of_stub(source: str) -> list[str]:
    """All paragraphs of the docstrings of the stub `source`, in order, each once."""
    return list(dict.fromkeys(part for _, docstring in _docstrings(source) for part in paragraphs(docstring)))


def stub_in(source: str, texts: Callable[[str], str]) -> str:
    """The stub `source` with its docstrings as `texts` says them."""
    lines = source.splitlines(keepends=True)
    for node, docstring in reversed(_docstrings(source)):
        translation = translated(docstring, texts)
        if translation != docstring:
            indent = " " * node.col_offset
            parts = [_laid_out(part, len(indent)) for part in translation.split("\n\n")]
            text = "\n\n".join(parts).replace("\\", r"\\").replace('"""', r"\"\"\"")
            text = textwrap.indent(f'"""{text}' + ("\n" * ("\n" in text)) + '"""', indent)
            lines[node.lineno - 1 : node.end_lineno] = [f"{text}\n"]
    return "".join(lines)


def _laid_out(paragraph: str, indent: int) -> str:
    """Prose in lines that fit the file; the lines of an example stay whole."""
    lines = paragraph.split("\n")
    return "\n".join(line if line.startswith((">>>", "...")) else wide.fill(line, WIDTH - indent) for line in lines)


def _docstrings(source: str) -> list[tuple[ast.Expr, str]]:
    """Each docstring of `source` in order: its statement, and its text without the indent."""
    owners = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    pairs = [(node.body[0], ast.get_docstring(node)) for node in owners if node.body]
    statements = [(first, text) for first, text in pairs if text and isinstance(first, ast.Expr)]
    return sorted(statements, key=lambda pair: pair[0].lineno)
