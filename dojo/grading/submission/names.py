"""Finds what a parsed kata imports, calls and names that the rules refuse or advise against."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dojo.grading.submission.finding import Finding
from dojo.grading.submission.rules import (
    ADVICE_CALLS,
    ALLOWED_MODULES,
    ALONE,
    INTERPRETER,
    REFUSED,
    REFUSED_ATTRIBUTES,
    REFUSED_CALLS,
    REFUSED_NAMES,
    why_not,
)


@dataclass(frozen=True)
class _Names:
    """The names of one file, and what its kata forbids."""

    aliases: dict[str, str]  # imported name -> what it stands for: {"F": "torch.nn.functional", "np": "numpy"}
    bound: set[str]  # names that the file binds, by an import or otherwise
    forbidden_paths: set[str]  # dotted names of modules and functions
    forbidden_operators: set[str]  # bare names of torch operators
    neighbours: set[str]  # the other katas


def check_names(tree: ast.Module, forbidden: Iterable[str], neighbours: set[str]) -> Iterator[Finding]:
    """All findings in `tree`, in no order. A place may be reported twice.

    `forbidden` is what this kata does not allow: bare names of torch operators, dotted names of modules or functions.
    """
    nodes = list(_graded_nodes(tree))
    aliases = _aliases(nodes)
    forbidden = set(forbidden)
    paths = {name for name in forbidden if "." in name}
    names = _Names(aliases, _bound_names(nodes) | set(aliases), paths, forbidden - paths, neighbours)
    handled: set[ast.AST] = set()  # the inner parts of dotted names, which are looked up as a whole
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from _check_modules(node, [alias.name for alias in node.names], names)
        elif isinstance(node, ast.ImportFrom):
            yield from _check_import_from(node, names)
        elif isinstance(node, ast.Subscript) and _is_own_module(node, aliases):
            handled.add(node.value)
        elif isinstance(node, ast.Attribute):
            yield from _check_attribute(node, names)
            path = "" if node in handled else _dotted(node, aliases)
            if path or node in handled:
                handled.add(node.value)
            if path:
                yield from _check_path(node, path, names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            if node.id in REFUSED_NAMES and node.id not in names.bound:
                yield _not_for_answers(node, node.id, REFUSED_NAMES[node.id])
        elif isinstance(node, ast.Call):
            yield from _check_call(node, names)


def _check_import_from(node: ast.ImportFrom, names: _Names) -> Iterator[Finding]:
    module = node.module or ""
    if node.level:
        yield _refusal(node, f"`from {'.' * node.level}{module} import` cannot be: {why_not('katas', set())}.")
        return
    if any(alias.name == "*" for alias in node.names):
        message = (
            f"`from {module} import *` may replace built-ins such as sum, min and max; import the names that you use."
        )
        yield Finding(*_place(node), message, False)
    yield from _check_modules(node, [f"{module}.{alias.name}" for alias in node.names], names)


def _check_modules(node: ast.Import | ast.ImportFrom, imported: list[str], names: _Names) -> Iterator[Finding]:
    for name in imported:
        module = name.removesuffix(".*")
        if forbidden := _covering(module, names.forbidden_paths):
            yield _forbidden(node, forbidden)
        elif isinstance(node, ast.ImportFrom) and (last := module.rpartition(".")[2]) in names.forbidden_operators:
            yield _forbidden(node, last)
        elif reason := why_not(module, names.neighbours):
            shown = module if name in REFUSED or isinstance(node, ast.Import) else node.module or module
            end = (
                f" {ALLOWED_MODULES}. If it is a file of your own, {ALONE}."
                if reason.startswith("it is not among")
                else ""
            )
            yield _refusal(node, f"`{shown}` may not be imported: {reason}.{end}")
            return
        elif reason := REFUSED_CALLS.get(module, ""):
            yield _not_for_answers(node, module, reason)


def _check_attribute(node: ast.Attribute, names: _Names) -> Iterator[Finding]:
    if node.attr in REFUSED_ATTRIBUTES:
        yield _not_for_answers(node, f".{node.attr}", INTERPRETER)
    is_own = (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")) or node.attr in names.bound
    if node.attr in names.forbidden_operators and not is_own:
        yield _forbidden(node, node.attr)


def _check_path(node: ast.Attribute, path: str, names: _Names) -> Iterator[Finding]:
    """`path` is the dotted name of `node`, from the imported module on."""
    if forbidden := _covering(path, names.forbidden_paths):
        yield _forbidden(node, forbidden)
    elif call := _covering(path, REFUSED_CALLS):
        yield _not_for_answers(node, call, REFUSED_CALLS[call])
    elif (module := _covering(path, REFUSED)) and not _covering(_root(node, names.aliases), REFUSED):
        # Where the root itself is refused, its import has been reported.
        yield _not_for_answers(node, module, REFUSED[module])


def _check_call(node: ast.Call, names: _Names) -> Iterator[Finding]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    called = names.aliases.get(name, name if name not in names.bound else "") or _dotted(node.func, names.aliases)
    if called in ADVICE_CALLS:
        yield Finding(*_place(node), f"`{called}` {ADVICE_CALLS[called]}.", False)
    if called == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        attribute = node.args[1].value
        if attribute in REFUSED_ATTRIBUTES:
            yield _not_for_answers(node, str(attribute), INTERPRETER)
        elif attribute in names.forbidden_operators:
            yield _forbidden(node, str(attribute))


def _graded_nodes(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node, parents before children, except the bodies that never run in grading (see `_never_runs`)."""
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        yield node
        children = list(ast.iter_child_nodes(node))
        if isinstance(node, ast.If) and _never_runs(node.test):
            children = list(node.orelse)
        stack += children


def _never_runs(test: ast.expr) -> bool:
    """Whether `test` is `__name__ == "__main__"` or TYPE_CHECKING."""
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Eq):
        operands = (test.left, *test.comparators)
        simple = all(isinstance(operand, ast.Name | ast.Constant) for operand in operands)
        return simple and {ast.unparse(operand) for operand in operands} == {"__name__", "'__main__'"}
    return (
        isinstance(test, ast.Name | ast.Attribute)
        and (test.id if isinstance(test, ast.Name) else test.attr) == "TYPE_CHECKING"
    )


def _aliases(nodes: list[ast.AST]) -> dict[str, str]:
    aliases = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                first = alias.name.partition(".")[0]  # `import a.b` binds a, `import a.b as c` binds a.b
                aliases[alias.asname or first] = alias.name if alias.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                aliases[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return aliases


def _bound_names(nodes: list[ast.AST]) -> set[str]:
    """Names that the file binds anywhere, except by imports.

    There is no scope analysis: a `compile` that is bound somewhere is taken for the file's own everywhere.
    """
    bound = set()
    for node in nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs) and node.name:
            bound.add(node.name)
    return bound


def _dotted(node: ast.AST, aliases: dict[str, str]) -> str:
    """`F.softmax` as "torch.nn.functional.softmax"; empty where the root is not imported."""
    root = _root(node, aliases)
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return ".".join([root, *reversed(attributes)]) if root else ""


def _root(node: ast.AST, aliases: dict[str, str]) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return aliases.get(node.id, "") if isinstance(node, ast.Name) else ""


def _covering(name: str, entries: Iterable[str]) -> str:
    """The entry that equals `name` or contains it: "torch.hub" for "torch.hub.load". Empty if there is none."""
    return next((entry for entry in entries if name == entry or name.startswith(entry + ".")), "")


def _is_own_module(node: ast.Subscript, aliases: dict[str, str]) -> bool:
    """Whether `node` is `sys.modules[__name__]`, which is allowed."""
    by_own_name = isinstance(node.slice, ast.Name) and node.slice.id == "__name__"
    return by_own_name and _dotted(node.value, aliases) == "sys.modules"


def _not_for_answers(node: ast.AST, name: str, reason: str) -> Finding:
    return _refusal(node, f"`{name}` is not for answers: {reason}.")


def _forbidden(node: ast.AST, name: str) -> Finding:
    return _refusal(node, f"This kata's rules forbid {name}; write it yourself.")


def _refusal(node: ast.AST, message: str) -> Finding:
    return Finding(*_place(node), message, True)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
