"""What a parsed kata names: the modules and attributes that its imports and dotted names stand for.

The grader's rules and the tests of katas that forbid a ready-made answer read names in the same way. Only the standard
library is imported: the grader reads submissions in a process that has nothing else.
"""

import ast
from collections.abc import Iterable, Iterator


def forbidden_uses(tree: ast.Module, forbidden: Iterable[str]) -> Iterator[tuple[ast.AST, str]]:
    """Yields (place, name) for each use of a name that a kata forbids, by whatever import or alias, in no order.

    `forbidden` holds bare names of torch operators, and dotted names of modules or functions.
    """
    nodes = list(graded_nodes(tree))
    imported = import_aliases(nodes)
    own = bound_names(nodes) | set(imported)
    paths = {name for name in forbidden if "." in name}
    operators = set(forbidden) - paths
    inner: set[ast.AST] = set()  # parts of dotted names, which are looked up as a whole
    for node in nodes:
        found = ""
        if isinstance(node, ast.Import):
            found = next((name for alias in node.names if (name := covering(alias.name, paths))), "")
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                found = found or covering(f"{node.module}.{alias.name}", paths)
                found = found or (alias.name if alias.name in operators else "")
        elif isinstance(node, ast.Attribute):
            of_torch = root_module(node, imported).partition(".")[0] == "torch"
            is_own = (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")) or node.attr in own
            is_own &= not of_torch  # torch.sigmoid is torch's, also in a file that writes a sigmoid
            path = "" if node in inner else dotted_name(node, imported)
            found = node.attr if node.attr in operators and not is_own else covering(path, paths)
            if path or node in inner:
                inner.add(node.value)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
            attribute = node.args[1] if len(node.args) > 1 else None
            if isinstance(attribute, ast.Constant) and attribute.value in operators:
                found = str(attribute.value)
        elif isinstance(node, ast.Name) and node.id in operators and node.id not in own:  # from an `import *`
            found = node.id
        if found:
            yield node, found


def graded_nodes(tree: ast.Module) -> Iterator[ast.AST]:
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


def import_aliases(nodes: list[ast.AST]) -> dict[str, str]:
    """The imported names and what they stand for: {"F": "torch.nn.functional", "np": "numpy"}."""
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


def bound_names(nodes: list[ast.AST]) -> set[str]:
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


def dotted_name(node: ast.AST, aliases: dict[str, str]) -> str:
    """`F.softmax` as "torch.nn.functional.softmax"; empty where the root is not imported."""
    root = root_module(node, aliases)
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return ".".join([root, *reversed(attributes)]) if root else ""


def root_module(node: ast.AST, aliases: dict[str, str]) -> str:
    """What the first part of a dotted name stands for; empty where it is not imported."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return aliases.get(node.id, "") if isinstance(node, ast.Name) else ""


def covering(name: str, entries: Iterable[str]) -> str:
    """The entry that equals `name` or contains it: "torch.hub" for "torch.hub.load". Empty if there is none."""
    return next((entry for entry in entries if name == entry or name.startswith(entry + ".")), "")
