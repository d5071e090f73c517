"""The plainest wrong results, given by each function in turn: None, a number, a list, another shape, another dtype.

They are what a first attempt returns. A test may not answer them with an error of its own code ("'NoneType' object has no
attribute 'shape'"), but with a sentence about the result.
"""

import ast
import copy
import re
from dataclasses import dataclass

from dojo.core.stubs import find_fences

RESULTS = {"None": "None", "a number": "0.5", "a list": "[1.0]"}
SPOILED = {
    "a tensor of another shape": "unsqueeze(0)",
    "a tensor of another dtype": "to(__import__('torch').complex64)",
}
TENSORS = re.compile(r"(tuple\[)?(Tensor|\w+\[Tensor\b)")
RAW_ERROR = re.compile(r"[A-Z]\w*(Error|Exception|Iteration|Warning)\b")


@dataclass(frozen=True)
class Slip:
    """One function of the reference that returns something else."""

    what: str  # "top_k_filter returns None"
    source: str


def slips(source: str, name: str) -> list[Slip]:
    """All slips of the reference `source`, in the order of its functions."""
    owners = dict.fromkeys(fence.owner for fence in find_fences(source, name) if fence.owner)
    return [slip for owner in owners for slip in _of_function(ast.parse(source), owner)]


def is_raw_error(message: str) -> bool:
    """Whether a failure begins with the name of an exception, and not with a sentence."""
    return RAW_ERROR.match(message) is not None


def _of_function(tree: ast.Module, owner: str) -> list[Slip]:
    *classes, name = owner.split(".")
    made = []
    if name == "__init__":
        bare = _changed(tree, classes, name, ["super().__init__()"])
        return [Slip(f"{classes[-1]} has no parameters and no submodules", ast.unparse(bare))]
    for what, value in RESULTS.items():
        made.append(Slip(f"{owner} returns {what}", ast.unparse(_changed(tree, classes, name, [f"return {value}"]))))
    returns = _find(tree, classes, name)[1].returns
    for what, method in SPOILED.items() if returns and TENSORS.match(ast.unparse(returns)) else ():
        wrapped = _wrapped(tree, classes, name, method)
        made.append(Slip(f"{owner} returns {what}", ast.unparse(wrapped)))
    return made


def _changed(tree: ast.Module, classes: list[str], name: str, body: list[str]) -> ast.Module:
    """`tree` with another body for one function."""
    tree = copy.deepcopy(tree)
    _, function = _find(tree, classes, name)
    function.body = ast.parse("\n".join(body)).body
    return tree


def _wrapped(tree: ast.Module, classes: list[str], name: str, method: str) -> ast.Module:
    """`tree` with one function whose tensors, also those in a tuple, pass through `method` before they are returned."""
    tree = copy.deepcopy(tree)
    block, function = _find(tree, classes, name)
    right = copy.deepcopy(function)
    right.name = f"_right_{name}"
    right.decorator_list = []
    arguments = function.args
    call = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args)]
    call += [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    call += [f"{argument.arg}={argument.arg}" for argument in arguments.kwonlyargs]
    callee = f"{call.pop(0)}.{right.name}" if classes else right.name
    function.body = ast.parse(
        f"result = {callee}({', '.join(call)})\n"
        f"spoil = lambda part: part.{method} if hasattr(part, 'unsqueeze') else part\n"
        "return type(result)(map(spoil, result)) if type(result) is tuple else spoil(result)"
    ).body
    block.insert(block.index(function), right)
    return tree


def _find(tree: ast.Module, classes: list[str], name: str) -> tuple[list[ast.stmt], ast.FunctionDef]:
    """The statements among which the function stands, and the function."""
    block = tree.body
    for part in classes:
        block = next(
            node for node in block if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == part
        ).body
    return block, next(node for node in block if isinstance(node, ast.FunctionDef) and node.name == name)
