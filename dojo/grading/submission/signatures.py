"""How the functions and classes of a kata differ from what its stub asks for. All of it is advice: the cases decide."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Found = tuple[int, int, str, bool]  # line, column, sentence, whether it refuses


def find_differences(tree: ast.Module, stub: ast.Module, reference: ast.Module) -> Iterator[Found]:
    """What of the stub is missing in `tree`, unwritten, or declared otherwise.

    `reference` tells which functions are generators: a stub only raises.
    """
    have, want, model = _names(tree.body), _definitions(stub.body), _definitions(reference.body)
    starred = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    for name, wanted in want.items():
        if name not in have:
            if not starred and _unwritten(wanted):  # what was given may be replaced
                kind = "class" if isinstance(wanted, ast.ClassDef) else "function"
                yield 1, 1, f"There is no {kind} {name}; whatever asks for it fails.", False
            continue
        found = have[name]
        if isinstance(wanted, Function):
            yield from _compare(name, found, wanted, model.get(name))
        elif isinstance(found, ast.ClassDef):
            yield from _compare_classes(found, wanted, model.get(name))


def _compare_classes(found: ast.ClassDef, wanted: ast.ClassDef, model: ast.AST | None) -> Iterator[Found]:
    have = _names(found.body)
    models = _definitions(model.body) if isinstance(model, ast.ClassDef) else {}
    own_bases = {ast.unparse(base) for base in found.bases} <= {ast.unparse(base) for base in wanted.bases}
    for name, method in _definitions(wanted.body).items():
        if not isinstance(method, Function):
            continue
        if name in have:
            yield from _compare(f"{found.name}.{name}", have[name], method, models.get(name))
        elif own_bases and name != "__init__" and not found.decorator_list and _unwritten(method):
            yield found.lineno, found.col_offset + 1, f"The class {found.name} has no method {name}.", False


def _compare(name: str, found: ast.AST, wanted: Function, model: ast.AST | None) -> Iterator[Found]:
    if not isinstance(found, Function):
        return  # made in another way: by an assignment, say
    line, column = found.lineno, found.col_offset + 1
    if _unwritten(wanted) and _body(found) == _body(wanted):
        yield line, column, f"{name} is still as in the stub.", False
        return
    if isinstance(found, ast.AsyncFunctionDef) and isinstance(wanted, ast.FunctionDef):
        yield line, column, f"{name} is an async function, and calling it gives a coroutine; write `def`.", False
    elif _is_generator(found) and not found.decorator_list and not (model and _is_generator(model)):
        yield line, column, f"{name} contains `yield`, so calling it gives a generator; return the result.", False
    special = wanted.name.startswith("__") and wanted.name != "__init__"  # Python calls these, and by position
    for sentence in _signature(name, found.args, wanted.args, by_name=not special):
        yield line, column, sentence, False


@dataclass(frozen=True)
class _Parameter:
    name: str
    place: int  # -1: by name only
    required: bool
    by_name: bool


def _signature(name: str, found: ast.arguments, wanted: ast.arguments, *, by_name: bool) -> Iterator[str]:
    """Calls that the stub allows and this function refuses, or takes otherwise."""
    have = {parameter.name: parameter for parameter in _parameters(found)}
    places = {parameter.place: parameter for parameter in have.values() if parameter.place >= 0}
    met = set()
    for parameter in _parameters(wanted):
        own, there = have.get(parameter.name), places.get(parameter.place)
        if own is None and there is not None and there.name not in {p.name for p in _parameters(wanted)}:
            met.add(there.name)
            if by_name:
                yield f"{name} calls its parameter {there.name} where the stub says {parameter.name}: calls by name fail."
        elif own is None:
            if not (found.kwarg if parameter.place < 0 else found.vararg):
                yield f"{name} has no parameter {parameter.name}."
        else:
            met.add(own.name)
            if parameter.place >= 0 and own.place >= 0 and own.place != parameter.place:
                yield f"{name} takes {own.name} as parameter {own.place + 1}, and the stub as parameter {parameter.place + 1}."
            elif parameter.place >= 0 > own.place and not found.vararg:
                yield f"{name} takes {own.name} by name only, and the stub by position too."
            elif not own.by_name and parameter.by_name:
                yield f"{name} takes {own.name} by position only, and the stub by name too."
            if own.required and not parameter.required:
                yield f"{name} gives {own.name} no default value, and the stub does."
    for extra in have.values():
        if extra.name not in met and extra.required:
            yield f"{name} has a parameter {extra.name} more than the stub; give it a default value."


def _parameters(arguments: ast.arguments) -> list[_Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    optional = len(positional) - len(arguments.defaults)
    return [
        *(
            _Parameter(argument.arg, place, place < optional, place >= len(arguments.posonlyargs))
            for place, argument in enumerate(positional)
        ),
        *(
            _Parameter(argument.arg, -1, default is None, True)
            for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        ),
    ]


def _definitions(body: list[ast.stmt]) -> dict[str, Function | ast.ClassDef]:
    return {node.name: node for node in body if isinstance(node, Function | ast.ClassDef)}


def _names(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """Every name that a module or class body binds, also inside `if`, `try` and `with`, and what binds it last."""
    found: dict[str, ast.AST] = {}
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Function | ast.ClassDef):
            found[node.name] = node
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = node
        elif isinstance(node, ast.alias):
            found[(node.asname or node.name).partition(".")[0]] = node
        if not isinstance(node, ast.Lambda):
            waiting += reversed(list(ast.iter_child_nodes(node)))
    return found


def _body(function: Function) -> list[str]:
    """The statements without the docstring, as text without places."""
    body = function.body
    first = body[0]
    documented = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return [ast.dump(statement) for statement in body[documented:]]


def _unwritten(given: ast.AST) -> bool:
    """Whether the stub leaves this function, or a method of this class, to the learner."""
    raised = [node.exc for node in ast.walk(given) if isinstance(node, ast.Raise)]
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) == "NotImplementedError" for call in raised)


def _is_generator(function: ast.AST) -> bool:
    waiting = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return False
