"""Turns a reference into its stub: each fenced region becomes one `raise NotImplementedError`.

    # kata: begin                      # kata: begin reset_parameters: start where the base layer is
    ...answer...                       ...answer...
    # kata: end                        # kata: end

The error's message is `<kata>.<qualified name>: write me`, or ends with the author's text after `begin`. Lines outside
fences are given to the learner unchanged. A fence outside any function hides helper code: the stub has nothing in its
place, because learners write their own helpers. Put imports that only the helpers need into that fence too.
"""

import ast
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.paths import Checkout

BEGIN = re.compile(r"^(?P<indent>\s*)# kata: begin(?:\s+(?P<message>\S.*?))?\s*$")
END = re.compile(r"^\s*# kata: end\s*$")


@dataclass(frozen=True)
class Fence:
    """One fenced region: the 1-based lines of its two marks, and the function around it."""

    begin: int
    end: int
    indent: str
    message: str  # the author's text after `begin`
    owner: str  # qualified name of the function around it; "" at module or class level


def read_reference(checkout: Checkout, name: str) -> str:
    """The text of the kata's reference. Raises UserError if it cannot be read, or if the pack has no solutions."""
    require_solutions(checkout)
    return _read(checkout, checkout.reference(name))


def require_solutions(checkout: Checkout) -> None:
    """Raises UserError if the pack was handed out without solutions."""
    if not checkout.solutions.is_dir():
        raise UserError(
            say(
                "These katas were handed out without solutions, probes and mistakes ({root}), and this needs them. "
                "The person who gave them to you has the whole pack.",
                root=checkout.root,
            )
        )


def _read(checkout: Checkout, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shown = checkout.shown(file)
        sentence = say(
            "{file} cannot be read ({error}). Restore it with `git checkout -- {file}`.", file=shown, error=error
        )
        raise UserError(sentence) from error


def stub(checkout: Checkout, name: str) -> str:
    """The text of the kata's stub: rendered from its reference or, in a pack without solutions, read from katas/."""
    if not checkout.solutions.is_dir():
        return _read(checkout, checkout.stub(name))
    return render(read_reference(checkout, name), name)


@lru_cache(maxsize=256)  # grading a class asks for each stub once per submission
def render(source: str, name: str) -> str:
    """The stub of the reference `source`. Raises UserError if its fences are wrong, or the stub is not valid Python."""
    lines = source.splitlines()
    out: list[str] = []
    done = 0  # lines of the source that are handled
    for fence in find_fences(source, name):
        out += lines[done : fence.begin - 1]
        if fence.owner:
            message = f"{name}.{fence.owner}: {fence.message or 'write me'}".replace("\\", "\\\\").replace('"', '\\"')
            out.append(f'{fence.indent}raise NotImplementedError("{message}")')
        else:
            while out and not out[-1].strip():
                out.pop()
        done = fence.end
    out += lines[done:]
    text = "\n".join(out).rstrip() + "\n"
    try:
        compile(text, f"katas/{name}.py", "exec")
    except SyntaxError as error:
        raise UserError(
            f"solutions/{name}.py renders to a stub that is not Python ({error.msg}, line {error.lineno}); move its fences."
        ) from error
    return text


def handed_out() -> str:
    """Why no failure is named in a pack that was handed out without its mistakes."""
    return say("These katas were handed out without their known mistakes, so a run cannot name yours.")


def without_fences(source: str) -> str:
    """The reference `source` without the marks of its fences, as a learner reads it."""
    return "".join(line for line in source.splitlines(keepends=True) if not (BEGIN.match(line) or END.match(line)))


def signatures(source: str) -> list[str]:
    """What the stub `source` asks for: each class and function in which something is to be written, on one line each."""
    found: list[str] = []

    def visit(parent: ast.AST, indent: str) -> None:
        for node in ast.iter_child_nodes(parent):
            if isinstance(
                node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
            ) and "NotImplementedError" in ast.dump(node):
                heading = lines[node.lineno - 1 : node.body[0].lineno - 1] or lines[node.lineno - 1 : node.lineno]
                text = " ".join(line.strip() for line in heading).split("  #")[0]
                found.append(indent + text.replace("( ", "(").replace(", )", ")").rstrip(": "))
                if isinstance(node, ast.ClassDef):
                    visit(node, indent + "    ")

    lines = source.splitlines()
    visit(ast.parse(source), "")
    return found


def find_fences(source: str, name: str) -> list[Fence]:
    """The fences of the reference `source`, in order. Raises UserError if their marks do not pair up."""
    functions = _functions(source, name)
    fences: list[Fence] = []
    open_fence: tuple[int, str, str] | None = None
    for number, line in enumerate(source.splitlines(), 1):
        if begin := BEGIN.match(line):
            if open_fence:
                raise UserError(
                    f"solutions/{name}.py:{number}: a fence opens inside the one from line {open_fence[0]}; end that one first."
                )
            open_fence = (number, begin["indent"], begin["message"] or "")
        elif END.match(line):
            if not open_fence:
                raise UserError(f"solutions/{name}.py:{number}: `# kata: end` without a `# kata: begin` before it.")
            start, indent, message = open_fence
            owner = max((f for f in functions if f[0] <= start <= f[1]), default=(0, 0, ""))[2]
            fences.append(Fence(start, number, indent, message, owner))
            open_fence = None
    if open_fence:
        raise UserError(f"solutions/{name}.py:{open_fence[0]}: this fence is never ended; add `# kata: end`.")
    if not fences:
        raise UserError(
            f"solutions/{name}.py has no fence: mark what the learner writes with `# kata: begin` and `# kata: end`."
        )
    return fences


def _functions(source: str, name: str) -> list[tuple[int, int, str]]:
    """(first line, last line, qualified name) of every function; an inner function begins later than its outer one."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"solutions/{name}.py, line {error.lineno}: {error.msg}.") from error
    functions: list[tuple[int, int, str]] = []

    def visit(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                qualified = f"{path}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    functions.append((child.lineno, child.end_lineno or child.lineno, qualified))
                visit(child, qualified)

    visit(tree, "")
    return functions
