"""Finds what a parsed kata imports, calls and names that the rules refuse or advise against."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dojo.core.names import (
    bound_names,
    covering,
    dotted_name,
    forbidden_uses,
    graded_nodes,
    import_aliases,
    root_module,
)
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
    """The names of one file, and those of the other katas."""

    aliases: dict[str, str]  # imported name -> what it stands for: {"F": "torch.nn.functional", "np": "numpy"}
    bound: set[str]  # names that the file binds, by an import or otherwise
    neighbours: set[str]  # the other katas


def check_names(tree: ast.Module, forbidden: Iterable[str], neighbours: set[str]) -> Iterator[Finding]:
    """All findings in `tree`, in no order. A place may be reported twice.

    `forbidden` is what this kata does not allow: bare names of torch operators, dotted names of modules or functions.
    """
    nodes = list(graded_nodes(tree))
    aliases = import_aliases(nodes)
    names = _Names(aliases, bound_names(nodes) | set(aliases), neighbours)
    forbids = dict(forbidden_uses(tree, forbidden))
    handled: set[ast.AST] = set()  # the inner parts of dotted names, which are looked up as a whole
    for node in nodes:
        if node in forbids:
            yield _refusal(node, f"This kata's rules forbid {forbids[node]}; write it yourself.")
            handled.update(child for child in ast.walk(node) if isinstance(child, ast.Attribute))
        elif isinstance(node, ast.Import):
            yield from _check_modules(node, [alias.name for alias in node.names], names)
        elif isinstance(node, ast.ImportFrom):
            yield from _check_import_from(node, names)
        elif isinstance(node, ast.Subscript) and _is_own_module(node, aliases):
            handled.add(node.value)
        elif isinstance(node, ast.Attribute):
            yield from _check_attribute(node)
            path = "" if node in handled else dotted_name(node, aliases)
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
        if reason := why_not(module, names.neighbours):
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


def _check_attribute(node: ast.Attribute) -> Iterator[Finding]:
    if node.attr in REFUSED_ATTRIBUTES:
        yield _not_for_answers(node, f".{node.attr}", INTERPRETER)


def _check_path(node: ast.Attribute, path: str, names: _Names) -> Iterator[Finding]:
    """`path` is the dotted name of `node`, from the imported module on."""
    if call := covering(path, REFUSED_CALLS):
        yield _not_for_answers(node, call, REFUSED_CALLS[call])
    elif (module := covering(path, REFUSED)) and not covering(root_module(node, names.aliases), REFUSED):
        # Where the root itself is refused, its import has been reported.
        yield _not_for_answers(node, module, REFUSED[module])


def _check_call(node: ast.Call, names: _Names) -> Iterator[Finding]:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    called = names.aliases.get(name, name if name not in names.bound else "") or dotted_name(node.func, names.aliases)
    if called in ADVICE_CALLS:
        yield Finding(*_place(node), f"`{called}` {ADVICE_CALLS[called]}.", False)
    if called == "getattr" and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
        attribute = node.args[1].value
        if attribute in REFUSED_ATTRIBUTES:
            yield _not_for_answers(node, str(attribute), INTERPRETER)


def _is_own_module(node: ast.Subscript, aliases: dict[str, str]) -> bool:
    """Whether `node` is `sys.modules[__name__]`, which is allowed."""
    by_own_name = isinstance(node.slice, ast.Name) and node.slice.id == "__name__"
    return by_own_name and dotted_name(node.value, aliases) == "sys.modules"


def _not_for_answers(node: ast.AST, name: str, reason: str) -> Finding:
    return _refusal(node, f"`{name}` is not for answers: {reason}.")


def _refusal(node: ast.AST, message: str) -> Finding:
    return Finding(*_place(node), message, True)


def _place(node: ast.AST) -> tuple[int, int]:
    return getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
