"""Makes automatic mutants of a reference: one small change each, in fenced code or in a default argument.

Operators and comparisons are exchanged, `break` and `continue` too, constants shifted, conditions fixed, arguments
swapped, calls and keyword arguments removed, statements and `with` dropped, defaults changed; loops run over nothing or
end after the first round. Annotations, docstrings and error sentences stay as they are.

No library does this: mutmut skips decorated functions (`@torch.no_grad()`), and others start an interpreter for each
mutant, where a fork takes a tenth of a second.
"""

import ast
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from dojo.core.stubs import find_fences

OPERATORS: dict[type[ast.operator], tuple[type[ast.operator], ...]] = {
    ast.Add: (ast.Sub,),
    ast.Sub: (ast.Add,),
    ast.Mult: (ast.Div,),
    ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mod,),
    ast.Mod: (ast.FloorDiv,),
    ast.Pow: (ast.Mult,),
    ast.BitAnd: (ast.BitOr,),
    ast.BitOr: (ast.BitAnd,),
}
COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SKIPPED = (ast.Raise, ast.JoinedStr)  # a learner may word error messages freely
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Point = tuple[str, range, Callable[[Any], None], Any, Any]  # function, lines, setter, new value, old value


@dataclass(frozen=True)
class Mutant:
    """A reference with one change. `[[survivor]]` entries refer to it by `change`."""

    change: str  # "sample_top_k: k = min(k, 9) -> k = min(9, k)"
    source: str
    lines: range  # of the reference; a test that runs none of them cannot see the change. Empty: every test may

    @property
    def function(self) -> str:
        """The function or class that holds the change."""
        return self.change.partition(":")[0]


def mutants(source: str, name: str) -> list[Mutant]:
    """Returns every mutant of the reference called `name`, in the order of its lines. No two have the same code."""
    fences = find_fences(source, name)
    ranges, owners = [(fence.begin, fence.end) for fence in fences], {fence.owner for fence in fences}
    statements = [ast.Module([statement], []) for statement in ast.parse(source).body]
    parts = [ast.unparse(statement) for statement in statements]
    plain = _one_text(statements, parts)
    texts = {plain}
    uses: Counter[str] = Counter()
    result: list[Mutant] = []
    for number, (statement, part) in enumerate(zip(statements, [*parts], strict=True)):
        for owner, lines, put, new, old in _points(statement, ranges, owners):
            put(new)
            parts[number] = ast.unparse(ast.fix_missing_locations(statement))
            put(old)
            text = _one_text(statements, parts)
            if text not in texts:
                texts.add(text)
                change = f"{owner}: {_change(plain, text)}"
                uses[change] += 1
                if uses[change] > 1:  # the same change to an equal line further down
                    change += f" ({uses[change]})"
                result.append(Mutant(change, text + "\n", lines))
        parts[number] = part
    return result


def _one_text(statements: list[ast.Module], parts: list[str]) -> str:
    """The text of a module of these statements, as ast.unparse() would lay it out."""
    heads = ("\n" if isinstance(module.body[0], DEFINITIONS) else "" for module in statements)
    return "\n".join(head + part for head, part in zip(heads, parts, strict=True)).removeprefix("\n")


def _points(tree: ast.Module, ranges: list[tuple[int, int]], owners: set[str]) -> Iterator[Point]:
    """Yields (function, lines, setter, new value, old value) for every single change."""

    def fenced(node: Any) -> bool:
        return any(begin < node.lineno and node.end_lineno < end for begin, end in ranges)

    def visit(node: ast.AST, owner: str, lines: range, inside: bool) -> Iterator[Point]:
        if isinstance(node, SKIPPED):
            return
        if isinstance(node, DEFINITIONS):
            owner = f"{owner}.{node.name}".lstrip(".")
            lines = range(0)
            if owner in owners and not isinstance(node, ast.ClassDef):
                for defaults in (node.args.defaults, node.args.kw_defaults):
                    for index, default in enumerate(defaults):
                        for new in _constants(default):
                            yield owner, range(0), _setter(defaults, index), new, default
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "decorator_list", "args") and not isinstance(node, ast.Call):
                continue
            if isinstance(value, list):
                for index, child in enumerate(value):
                    if isinstance(child, ast.AST):
                        yield from child_points(value, index, child, owner, lines, inside)
            elif isinstance(value, ast.AST):
                yield from child_points(node, field, value, owner, lines, inside)

    def child_points(holder: Any, key: Any, child: ast.AST, owner: str, lines: range, inside: bool) -> Iterator[Point]:
        if isinstance(child, ast.stmt) and not isinstance(holder, ast.Module) and owner:
            lines = _own_lines(child)
        inside = inside or (hasattr(child, "lineno") and fenced(child))
        if inside and not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            for new in _replacements(child):
                yield owner, lines, _setter(holder, key), new, child
        yield from visit(child, owner, lines, inside)

    yield from visit(tree, "", range(0), False)


def _own_lines(statement: ast.stmt) -> range:
    """The statement's lines; of one that holds others, the lines before them."""
    body = getattr(statement, "body", None)
    return range(statement.lineno, body[0].lineno if body else (statement.end_lineno or statement.lineno) + 1)


def _setter(holder: Any, key: Any) -> Callable[[Any], None]:
    def put(value: Any) -> None:
        if isinstance(key, int):
            holder[key] = value
        else:
            setattr(holder, key, value)

    return put


def _replacements(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.BinOp):
        for operator in OPERATORS.get(type(node.op), ()):
            yield ast.BinOp(node.left, operator(), node.right)
    elif isinstance(node, ast.AugAssign):
        for operator in OPERATORS.get(type(node.op), ()):
            yield ast.AugAssign(node.target, operator(), node.value)
        yield ast.Pass()
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for comparison in COMPARISONS.get(type(node.ops[0]), ()):
            yield ast.Compare(node.left, [comparison()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        yield from (
            ast.BoolOp(node.op, node.values[:i] + node.values[i + 1 :])
            for i in range(len(node.values))
            if len(node.values) > 1
        )
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from _constants(node)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        for value in (True, False):
            if value and isinstance(node, ast.While):
                continue  # would never end
            fixed = ast.Constant(value)
            if isinstance(node, ast.IfExp):
                yield ast.IfExp(fixed, node.body, node.orelse)
            elif isinstance(node, ast.If):
                yield ast.If(fixed, node.body, node.orelse)
            else:
                yield ast.While(fixed, node.body, node.orelse)
        if isinstance(node, ast.While):
            yield from _rounds(node)
    elif isinstance(node, ast.For):
        yield ast.For(node.target, ast.Tuple([]), node.body, node.orelse)
        yield from _rounds(node)
    elif isinstance(node, ast.Break | ast.Continue):
        yield ast.Continue() if isinstance(node, ast.Break) else ast.Break()
    elif isinstance(node, ast.With):
        yield ast.If(ast.Constant(True), node.body, [])
    elif isinstance(node, ast.Call):
        yield from _calls(node)
    elif isinstance(node, ast.Assign | ast.Expr | ast.Assert) or (isinstance(node, ast.AnnAssign) and node.value):
        yield ast.Pass()


def _rounds(loop: ast.For | ast.While) -> Iterator[ast.AST]:
    """Yields the loop that ends after its first round, unless every round ends it or goes on to the next by its last line."""
    if isinstance(loop.body[-1], ast.Return | ast.Raise | ast.Break | ast.Continue):
        return
    body = [*loop.body, ast.Break()]
    if isinstance(loop, ast.For):
        yield ast.For(loop.target, loop.iter, body, loop.orelse)
    else:
        yield ast.While(loop.test, body, loop.orelse)


def _constants(node: Any) -> Iterator[ast.AST]:
    """Yields neighbours of a constant. To the parser a negative one is an operator and its operand."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant):
        value = node.value
        if isinstance(value, bool):
            yield ast.Constant(not value)
        elif isinstance(value, int):
            yield ast.Constant(value + 1)
            if value > 0:
                yield ast.Constant(value - 1)
        elif isinstance(value, float):
            yield ast.Constant(value * 2 if value else 1.0)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    starred = any(isinstance(arg, ast.Starred) for arg in node.args[:2])
    if len(node.args) >= 2 and not starred:
        yield ast.Call(node.func, [node.args[1], node.args[0], *node.args[2:]], node.keywords)
    for index in range(len(node.keywords)):
        yield ast.Call(node.func, node.args, node.keywords[:index] + node.keywords[index + 1 :])
    if isinstance(node.func, ast.Attribute) and not (
        isinstance(node.func.value, ast.Name) and node.func.value.id in ("torch", "nn", "F", "math")
    ):
        yield node.func.value  # x.f(...) -> x
    elif node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]  # f(x, ...) -> x


def _change(old: str, new: str) -> str:
    """Returns the lines that differ. Changes to the rest of the file leave this text as it is."""
    before, after = old.splitlines(), new.splitlines()
    last = ""
    while before and after and before[0] == after[0]:
        last = before[0]
        del before[0], after[0]
    while before and after and before[-1] == after[-1]:
        del before[-1], after[-1]
    if not before:  # a line was added: say after which one
        before, after = [last], [last, *after]
    return f"{_joined(before)} -> {_joined(after)}"


def _joined(lines: list[str]) -> str:
    return " | ".join(line.strip() for line in lines)
