"""What a parsed kata imports, calls and names that an answer may not, and what it had better not."""

import ast
from collections.abc import Iterable, Iterator

from dojo.grading.submission.rules import (
    ADVICE_CALLS,
    ALONE,
    INTERPRETER,
    MAY,
    REFUSED,
    REFUSED_ATTRIBUTES,
    REFUSED_CALLS,
    REFUSED_NAMES,
    why_not,
)

Found = tuple[int, int, str, bool]  # line, column, sentence, whether it refuses


def find_spellings(tree: ast.Module, banned: Iterable[str], neighbours: set[str]) -> Iterator[Found]:
    """Everything of that kind in `tree`, in no order.

    `banned` is what this kata forbids: bare names of torch operators, and dotted names of modules or functions.
    """
    nodes = list(_graded(tree))
    aliases = _aliases(nodes)
    bound = _bound(nodes) | set(aliases)
    dotted = {name for name in banned if "." in name}
    operators = {name for name in banned if "." not in name}
    whole: set[ast.AST] = set()  # inner parts of a dotted name that has been seen as a whole, and harmless spellings
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node, dotted, operators, neighbours)
        elif isinstance(node, ast.Subscript) and _is_this_module(node, aliases):
            whole.add(node.value)
        elif isinstance(node, ast.Attribute):
            yield from _attribute(node, aliases, bound, dotted, operators, whole)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in REFUSED_NAMES and node.id not in bound:
                yield *_at(node), f"`{node.id}` is not for answers: {REFUSED_NAMES[node.id]}.", True
        elif isinstance(node, ast.Call):
            yield from _call(node, aliases, bound, operators)


def _imports(
    node: ast.Import | ast.ImportFrom, dotted: set[str], operators: set[str], neighbours: set[str]
) -> Iterator[Found]:
    if isinstance(node, ast.Import):
        wanted = [alias.name for alias in node.names]
    elif node.level:
        yield (
            *_at(node),
            f"`from {'.' * node.level}{node.module or ''} import` cannot be: {why_not('katas', set())}.",
            True,
        )
        return
    else:
        module = node.module or ""
        wanted = [f"{module}.{alias.name}" for alias in node.names]
        if any(alias.name == "*" for alias in node.names):
            said = f"`from {module} import *` may replace built-ins such as sum, min and max; import the names that you use."
            yield *_at(node), said, False
    for name in wanted:
        module = name.removesuffix(".*")
        shown = module if name in REFUSED or isinstance(node, ast.Import) else node.module or module
        if forbidden := _covered(module, dotted):
            yield *_at(node), f"This kata's rules forbid {forbidden}; write it yourself.", True
        elif isinstance(node, ast.ImportFrom) and (last := module.rpartition(".")[2]) in operators:
            yield *_at(node), f"This kata's rules forbid {last}; write it yourself.", True
        elif reason := why_not(module, neighbours):
            end = f" {MAY}. If it is a file of your own, {ALONE}." if reason.startswith("it is not among") else ""
            yield *_at(node), f"`{shown}` may not be imported: {reason}.{end}", True
            return
        elif reason := REFUSED_CALLS.get(module, ""):
            yield *_at(node), f"`{module}` is not for answers: {reason}.", True


def _attribute(
    node: ast.Attribute,
    aliases: dict[str, str],
    bound: set[str],
    dotted: set[str],
    operators: set[str],
    whole: set[ast.AST],
) -> Iterator[Found]:
    if node.attr in REFUSED_ATTRIBUTES:
        yield *_at(node), f"`.{node.attr}` is not for answers: {INTERPRETER}.", True
    own = (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")) or node.attr in bound
    if node.attr in operators and not own:
        yield *_at(node), f"This kata's rules forbid {node.attr}; write it yourself.", True
    if node in whole:
        whole.add(node.value)
        return
    name = _dotted(node, aliases)
    if not name:
        return
    whole.add(node.value)
    if forbidden := _covered(name, dotted):
        yield *_at(node), f"This kata's rules forbid {forbidden}; write it yourself.", True
    elif name in REFUSED_CALLS or any(name.startswith(call + ".") for call in REFUSED_CALLS):
        call = next(call for call in REFUSED_CALLS if name == call or name.startswith(call + "."))
        yield *_at(node), f"`{call}` is not for answers: {REFUSED_CALLS[call]}.", True
    elif (refused := _covered(name, REFUSED)) and not _covered(_root(node, aliases), REFUSED):  # said at its import
        yield *_at(node), f"`{refused}` is not for answers: {REFUSED[refused]}.", True


def _call(node: ast.Call, aliases: dict[str, str], bound: set[str], operators: set[str]) -> Iterator[Found]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    known = aliases.get(name, name if name not in bound else "") or _dotted(node.func, aliases)
    if known in ADVICE_CALLS:
        yield *_at(node), f"`{known}` {ADVICE_CALLS[known]}.", False
    if known == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        asked = node.args[1].value
        if asked in REFUSED_ATTRIBUTES:
            yield *_at(node), f"`{asked}` is not for answers: {INTERPRETER}.", True
        elif asked in operators:
            yield *_at(node), f"This kata's rules forbid {asked}; write it yourself.", True


def _graded(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node, from the outside in, but for what never runs in grading: `if __name__ == "__main__"`, TYPE_CHECKING."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and _never_runs(node.test):
            children = list(node.orelse)
        waiting += children


def _never_runs(test: ast.expr) -> bool:
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq):
        sides = {ast.unparse(test.left), *map(ast.unparse, test.comparators)} if _small(test) else set()
        return sides == {"__name__", "'__main__'"}
    return (
        isinstance(test, ast.Name | ast.Attribute)
        and (test.id if isinstance(test, ast.Name) else test.attr) == "TYPE_CHECKING"
    )


def _small(test: ast.Compare) -> bool:
    return all(isinstance(side, ast.Name | ast.Constant) for side in (test.left, *test.comparators))


def _aliases(nodes: list[ast.AST]) -> dict[str, str]:
    """What the imported names stand for: {"F": "torch.nn.functional", "np": "numpy"}."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def _bound(nodes: list[ast.AST]) -> set[str]:
    """Names that the file gives a meaning somewhere; whose `compile` it is would take a closer look than it deserves."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            found.add(node.name)
    return found


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """`F.softmax` as torch.nn.functional.softmax; empty where it does not start at an import."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    root = _root(node, aliases)
    return ".".join([root, *reversed(parts)]) if root else ""


def _root(node: ast.AST, aliases: dict[str, str]) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return aliases.get(node.id, "") if isinstance(node, ast.Name) else ""


def _covered(name: str, refused: Iterable[str]) -> str:
    """The entry that `name` is, or lies in."""
    return next((entry for entry in refused if name == entry or name.startswith(entry + ".")), "")


def _is_this_module(node: ast.Subscript, aliases: dict[str, str]) -> bool:
    """`sys.modules[__name__]`, how a module looks things up in itself."""
    own = isinstance(node.slice, ast.Name) and node.slice.id == "__name__"
    return own and _dotted(node.value, aliases) == "sys.modules"


def _at(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
