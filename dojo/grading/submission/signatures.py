"""Compares the functions and classes of a kata with its stub. Every finding is advice: the probe's cases decide."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from dojo.grading.submission.finding import Finding

Function = ast.FunctionDef | ast.AsyncFunctionDef


def compare_signatures(tree: ast.Module, stub: ast.Module, reference: ast.Module) -> Iterator[Finding]:
    """What the stub has and `tree` lacks, leaves unwritten, or declares in another way.

    The reference is needed to know which functions are generators: in the stub their bodies only raise.
    """
    submitted, required, model = _bound_names(tree.body), _definitions(stub.body), _definitions(reference.body)
    star_import = any(isinstance(node, ast.ImportFrom) and node.names[0].name == "*" for node in ast.walk(tree))
    for name, definition in required.items():
        if name not in submitted:
            # Code that the stub gives in full may be replaced, and a star import may bring any name.
            if not star_import and _is_left_to_learner(definition):
                kind = "class" if isinstance(definition, ast.ClassDef) else "function"
                yield Finding(1, 1, f"There is no {kind} {name}; whatever asks for it fails.", False)
            continue
        node = submitted[name]
        if isinstance(definition, Function):
            yield from _compare_functions(name, node, definition, model.get(name))
        elif isinstance(node, ast.ClassDef):
            yield from _compare_classes(node, definition, model.get(name))


def _compare_classes(submitted: ast.ClassDef, required: ast.ClassDef, model: ast.AST | None) -> Iterator[Finding]:
    members = _bound_names(submitted.body)
    models = _definitions(model.body) if isinstance(model, ast.ClassDef) else {}
    # A base class that the stub does not have, or a decorator, may bring the missing method.
    adds_no_base = {ast.unparse(base) for base in submitted.bases} <= {ast.unparse(base) for base in required.bases}
    may_inherit = not adds_no_base or bool(submitted.decorator_list)
    for name, method in _definitions(required.body).items():
        if not isinstance(method, Function):
            continue
        if name in members:
            yield from _compare_functions(f"{submitted.name}.{name}", members[name], method, models.get(name))
        elif not may_inherit and name != "__init__" and _is_left_to_learner(method):
            yield _advice(submitted, f"The class {submitted.name} has no method {name}.")


def _compare_functions(name: str, submitted: ast.AST, required: Function, model: ast.AST | None) -> Iterator[Finding]:
    if not isinstance(submitted, Function):
        return  # bound in another way, for example by an assignment
    if _is_left_to_learner(required) and _statements(submitted) == _statements(required):
        yield _advice(submitted, f"{name} is still as in the stub.")
        return
    if isinstance(submitted, ast.AsyncFunctionDef) and isinstance(required, ast.FunctionDef):
        yield _advice(submitted, f"{name} is an async function, and calling it gives a coroutine; write `def`.")
    elif _is_generator(submitted) and not submitted.decorator_list and not _may_be_generator(required, model):
        message = f"{name} contains `yield`, so calling it gives a generator; return the result."
        yield _advice(submitted, message)
    # Python calls special methods by position, so the names of their parameters are free.
    is_special = required.name.startswith("__") and required.name != "__init__"
    for sentence in _compare_parameters(name, submitted.args, required.args, check_names=not is_special):
        yield _advice(submitted, sentence)


def _may_be_generator(required: Function, model: ast.AST | None) -> bool:
    """Whether a generator is what the stub asks for, by its annotation, or what the reference gives."""
    returns = ast.unparse(required.returns) if required.returns else ""
    return returns.startswith(("Iterator", "Iterable", "Generator")) or bool(model and _is_generator(model))


def _advice(node: Function | ast.ClassDef, message: str) -> Finding:
    return Finding(node.lineno, node.col_offset + 1, message, False)


@dataclass(frozen=True)
class _Parameter:
    name: str
    position: int | None  # None for a keyword-only parameter
    is_required: bool
    accepts_keyword: bool


def _compare_parameters(
    function: str, submitted: ast.arguments, required: ast.arguments, *, check_names: bool
) -> Iterator[str]:
    """A sentence for each kind of call that the stub allows and the submitted function refuses or understands otherwise."""
    by_name = {parameter.name: parameter for parameter in _parameters(submitted)}
    by_position = {parameter.position: parameter for parameter in by_name.values() if parameter.position is not None}
    required_parameters = _parameters(required)
    required_names = {parameter.name for parameter in required_parameters}
    matched = set()  # names of submitted parameters that correspond to one of the stub
    for wanted in required_parameters:
        name = wanted.name
        if name in by_name:
            matched.add(name)
            yield from _compare_parameter(function, by_name[name], wanted, takes_any=submitted.vararg is not None)
            continue
        renamed = by_position.get(wanted.position) if wanted.position is not None else None
        if renamed is not None and renamed.name not in required_names:
            matched.add(renamed.name)
            if check_names:
                yield f"{function} calls its parameter {renamed.name} where the stub says {name}: calls by name fail."
        elif not (submitted.kwarg if wanted.position is None else submitted.vararg):
            yield f"{function} has no parameter {name}."
    for parameter in by_name.values():
        if parameter.name not in matched and parameter.is_required:
            yield f"{function} has a parameter {parameter.name} more than the stub; give it a default value."


def _compare_parameter(function: str, submitted: _Parameter, required: _Parameter, *, takes_any: bool) -> Iterator[str]:
    """Compares two parameters of one name. `takes_any`: the submitted function has `*args`."""
    name = submitted.name
    if required.position is not None and submitted.position is not None and submitted.position != required.position:
        yield f"{function} takes {name} as parameter {submitted.position + 1}, and the stub as parameter {required.position + 1}."
    elif required.position is not None and submitted.position is None and not takes_any:
        yield f"{function} takes {name} by name only, and the stub by position too."
    elif required.accepts_keyword and not submitted.accepts_keyword:
        yield f"{function} takes {name} by position only, and the stub by name too."
    if submitted.is_required and not required.is_required:
        yield f"{function} gives {name} no default value, and the stub does."


def _parameters(arguments: ast.arguments) -> list[_Parameter]:
    """All parameters but `*args` and `**kwargs`."""
    positional = [*arguments.posonlyargs, *arguments.args]
    without_default = len(positional) - len(arguments.defaults)
    parameters = [
        _Parameter(argument.arg, position, position < without_default, position >= len(arguments.posonlyargs))
        for position, argument in enumerate(positional)
    ]
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parameters.append(_Parameter(argument.arg, None, default is None, True))
    return parameters


def _definitions(body: list[ast.stmt]) -> dict[str, Function | ast.ClassDef]:
    return {node.name: node for node in body if isinstance(node, Function | ast.ClassDef)}


def _bound_names(body: list[ast.stmt]) -> dict[str, ast.AST]:
    """Every name that a module or class body binds, also inside `if`, `try` and `with`, and the node that binds it last."""
    bound: dict[str, ast.AST] = {}
    stack: list[ast.AST] = list(reversed(body))
    while stack:
        node = stack.pop()
        if isinstance(node, Function | ast.ClassDef):
            bound[node.name] = node
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id] = node
        elif isinstance(node, ast.alias):
            bound[(node.asname or node.name).partition(".")[0]] = node
        if not isinstance(node, ast.Lambda):
            stack += reversed(list(ast.iter_child_nodes(node)))
    return bound


def _statements(function: Function) -> list[str]:
    """The statements of `function` without its docstring, as text without line numbers."""
    first = function.body[0]
    has_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return [ast.dump(statement) for statement in function.body[has_docstring:]]


def _is_left_to_learner(definition: ast.AST) -> bool:
    """Whether this function of the stub, or a method of this class, raises NotImplementedError(...)."""
    exceptions = [node.exc for node in ast.walk(definition) if isinstance(node, ast.Raise)]
    return any(isinstance(call, ast.Call) and ast.unparse(call.func) == "NotImplementedError" for call in exceptions)


def _is_generator(function: ast.AST) -> bool:
    stack = list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            stack += ast.iter_child_nodes(node)
    return False
