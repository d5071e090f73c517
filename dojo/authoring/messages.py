"""What the tests of a kata may say of a failure, gathered from their source for translators."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

NOT_SHOWN = (
    "probe.py",
    "bench.py",
    "probes.py",
    "codec.py",
    "codec_decode.py",
    "summary.py",
    "evidence.py",
    "arrays.py",
)


def of_folder(folder: Path) -> list[str]:
    """The phrases in the modules of `folder`, in order, each once, with {holes} for what an f-string fills in."""
    modules = sorted(path for path in folder.glob("*.py") if path.name not in NOT_SHOWN)
    return list(dict.fromkeys(phrase for path in modules for phrase in of_source(path.read_text(encoding="utf-8"))))


def of_source(source: str) -> Iterator[str]:
    """The phrases of one module: its strings that are neither code nor a single word, and what its tests are for."""
    tree = ast.parse(source)
    docstrings: dict[int, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (docstring := ast.get_docstring(node)):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            first = node.body[0]
            assert isinstance(first, ast.Expr)
            docstrings[id(first.value)] = " ".join(docstring.split()) if is_test else ""
    yield from _phrases(tree, docstrings)


def _phrases(node: ast.AST, docstrings: dict[int, str]) -> Iterator[str]:
    if id(node) in docstrings:
        if docstrings[id(node)]:
            yield _escaped(docstrings[id(node)])
        return
    if isinstance(node, ast.AugAssign):
        node = ast.BinOp(node.target, node.op, node.value)
    phrase = _phrase(node, {})
    if phrase is None:
        parts: Iterable[ast.AST] = ast.iter_child_nodes(node)
    else:
        if not _is_code(phrase):
            yield phrase
        parts = (part.value for part in ast.walk(node) if isinstance(part, ast.FormattedValue))
    for part in parts:
        yield from _phrases(part, docstrings)


def _phrase(node: ast.AST, holes: dict[str, str]) -> str | None:
    """The text of a string, with a {name} for each value; None if `node` is no string. Fills `holes`: names of values."""
    if isinstance(node, ast.Constant):
        return _escaped(node.value) if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(
            _hole(part, holes) if isinstance(part, ast.FormattedValue) else _phrase(part, holes) or ""
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _phrase(node.left, holes), _phrase(node.right, holes)
        if left is not None or right is not None:
            return (_hole(node.left, holes) if left is None else left) + (
                _hole(node.right, holes) if right is None else right
            )
    return None


def _hole(value: ast.expr, holes: dict[str, str]) -> str:
    """{list_x_shape} for a value that is written list(x.shape); other values of one phrase have other names."""
    written = ast.unparse(value)
    name = re.sub(r"\W+", "_", ast.unparse(value.value if isinstance(value, ast.FormattedValue) else value)).strip("_")
    name = name if name.isidentifier() else f"_{name}"
    while holes.setdefault(name, written) != written:
        name += "_"
    return f"{{{name}}}"


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _is_code(phrase: str) -> bool:
    """Whether nobody need translate it: a name, an expression, symbols."""
    text = re.sub(r"\{\w+\}", "x", phrase).replace("{{", "{").replace("}}", "}").strip()
    has_words = re.search(r"[A-Za-z]{2,} |[A-Za-z] [A-Za-z]{2,}", text)
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        # "{call} {when}" has no words of its own, but what stands in its holes has
        return not has_words and not re.search(r"\} | \{", phrase)
    return not has_words or bool(re.search(r"[][()=+*/.<>-]", text))  # "not modified", "weight or bias" are prose
