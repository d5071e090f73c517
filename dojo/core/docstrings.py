"""The docstrings of a stub, paragraph by paragraph, as they are translated."""

import ast
from collections.abc import Callable

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
    said = [texts(one_line(part)) for part in parts]
    return "\n\n".join(part if new == one_line(part) else new for part, new in zip(parts, said, strict=True))


def of_stub(source: str) -> list[str]:
    """All paragraphs of the docstrings of the stub `source`, in order, each once."""
    owners = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    owners.sort(key=lambda node: getattr(node, "lineno", 0))
    found = [ast.get_docstring(node) for node in owners]
    return list(dict.fromkeys(part for docstring in found if docstring for part in paragraphs(docstring)))
