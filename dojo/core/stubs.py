"""Reference to stub: what stands between the fences becomes one `raise NotImplementedError`.

    # kata: begin                      # kata: begin reset_parameters: start where the base layer is
    ...answer...                       ...answer...
    # kata: end                        # kata: end

The sentence of the error is `<kata>.<qualified name>: write me`, or what follows `begin` when the author wrote more.
What stands outside fences is given to the learner unchanged. A fence outside any function hides helper code: it
leaves nothing behind (a learner writes helpers of their own), and what only it needs goes with it.
"""

import ast
import re
from dataclasses import dataclass

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.paths import Checkout

BEGIN = re.compile(r"^(?P<indent>\s*)# kata: begin(?:\s+(?P<words>\S.*?))?\s*$")
END = re.compile(r"^\s*# kata: end\s*$")


@dataclass(frozen=True)
class Fence:
    """One fenced region: 1-based lines of its two marks, and where it stands."""

    begin: int
    end: int
    indent: str
    words: str
    owner: str  # qualified name of the function it is in; "" at module or class level


def find_fences(source: str, name: str) -> list[Fence]:
    """The fences of `source` (a reference called `name`), in order; raises UserError where they do not pair up."""
    owners = _owners(source, name)
    fences: list[Fence] = []
    open_at: tuple[int, str, str] | None = None
    for number, line in enumerate(source.splitlines(), 1):
        if begin := BEGIN.match(line):
            if open_at:
                raise UserError(
                    f"solutions/{name}.py:{number}: a fence opens inside the one from line {open_at[0]}; end that one first."
                )
            open_at = (number, begin["indent"], begin["words"] or "")
        elif END.match(line):
            if not open_at:
                raise UserError(f"solutions/{name}.py:{number}: `# kata: end` without a `# kata: begin` before it.")
            start, indent, words = open_at
            owner = max((o for o in owners if o[0] <= start <= o[1]), default=(0, 0, ""))[2]
            fences.append(Fence(start, number, indent, words, owner))
            open_at = None
    if open_at:
        raise UserError(f"solutions/{name}.py:{open_at[0]}: this fence is never ended; add `# kata: end`.")
    if not fences:
        raise UserError(
            f"solutions/{name}.py has no fence: mark what the learner writes with `# kata: begin` and `# kata: end`."
        )
    return fences


def render(source: str, name: str) -> str:
    """The stub that a learner starts from."""
    lines = source.splitlines()
    out: list[str] = []
    done = 0
    for fence in find_fences(source, name):
        out += lines[done : fence.begin - 1]
        if fence.owner:
            what = f"{name}.{fence.owner}"
            words = fence.words or "write me"
            sentence = f"{what}: {words}".replace("\\", "\\\\").replace('"', '\\"')
            out.append(f'{fence.indent}raise NotImplementedError("{sentence}")')
        else:
            while out and not out[-1].strip():
                out.pop()
        done = fence.end
    out += lines[done:]
    stub = "\n".join(out).rstrip() + "\n"
    try:
        compile(stub, f"katas/{name}.py", "exec")
    except SyntaxError as error:
        raise UserError(
            f"solutions/{name}.py renders to a stub that is not Python ({error.msg}, line {error.lineno}); move its fences."
        ) from error
    return stub


def _owners(source: str, name: str) -> list[tuple[int, int, str]]:
    """(first line, last line, qualified name) of every function; later ones are deeper."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise UserError(f"solutions/{name}.py, line {error.lineno}: {error.msg}.") from error
    found: list[tuple[int, int, str]] = []

    def visit(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{path}.{child.name}".lstrip(".")
                if not isinstance(child, ast.ClassDef):
                    found.append((child.lineno, child.end_lineno or child.lineno, inner))
                visit(child, inner)

    visit(tree, "")
    return found


def _read_reference(checkout: Checkout, name: str) -> str:
    file = checkout.reference(name)
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        shown = checkout.shown(file)
        raise UserError(f"{shown} cannot be read ({error}). Restore it with `git checkout -- {shown}`.") from error


def stub(checkout: Checkout, kata: Kata) -> str:
    """What a learner begins with."""
    return render(checkout.reference(kata.name).read_text(encoding="utf-8"), kata.name)
