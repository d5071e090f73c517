"""Gathers the evidence of a kata's named mistakes, and runs for each of them only the cases that can see it."""

import ast
import sys
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

from dojo.testing import probes
from dojo.testing.probes import Evidence, Probe

Function = ast.FunctionDef | ast.AsyncFunctionDef


def gather_variants(probe: Probe, kata: str, reference: str, variants: Sequence[str], seed: int) -> list[Evidence]:
    """The evidence of the source `reference`, then that of each of its `variants`.

    A case that on the reference enters no function in which a variant differs shows of the variant what it shows of the
    reference, and both share one object. So a reference must not keep anything between two calls.
    """
    if not variants:  # then nobody asks what a case enters
        return [probes.gather(probe, probes.load_module(f"reference_{kata}", reference, f"<{kata}>"), seed)]
    right, entered, at_import = _gather_traced(probe, kata, reference, seed)
    functions, skeleton = _functions(reference)
    result = [right]
    for source in variants:
        spans = _changed(functions, skeleton, source)
        everywhere = spans is None or any(_enters(span, at_import) for span in spans)
        module = probes.load_module(f"reference_{kata}", source, f"<{kata}>")
        evidence: Evidence = {}
        for case in probes.cases(probe, seed):  # anew for each: the code may modify its inputs
            if everywhere or any(_enters(span, entered[case.name]) for span in spans or ()):
                evidence[case.name] = probes.gather_case(probe, module, case, seed)
            else:
                evidence[case.name] = right[case.name]
        result.append(evidence)
    return result


def _gather_traced(probe: Probe, kata: str, source: str, seed: int) -> tuple[Evidence, dict[str, set[int]], set[int]]:
    """The evidence of `source`, the first lines of the functions that each case enters, and of those that the import does."""
    file = f"<{kata}>"
    with _CallTrace(file) as at_import:
        module = probes.load_module(f"reference_{kata}", source, file)
    evidence: Evidence = {}
    entered: dict[str, set[int]] = {}
    for case in probes.cases(probe, seed):
        with _CallTrace(file) as entered[case.name]:
            evidence[case.name] = probes.gather_case(probe, module, case, seed)
    return evidence, entered, at_import


def _functions(source: str) -> tuple[list[tuple[range, str]], str]:
    """The lines and the body of each function and method, in order, and the file without these bodies."""
    tree = ast.parse(source)
    functions = []

    def visit(block: list[ast.stmt]) -> None:
        for node in block:
            if isinstance(node, Function):
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                body = ast.dump(ast.Module(node.body, []))
                functions.append((range(first, (node.end_lineno or first) + 1), body))
                node.body = []
            elif isinstance(node, ast.ClassDef):
                visit(node.body)

    visit(tree.body)
    return functions, ast.dump(tree)


def _changed(functions: list[tuple[range, str]], skeleton: str, variant: str) -> list[range] | None:
    """The lines, in the reference, of each function whose body differs in `variant`; None if anything else differs too."""
    others, other_skeleton = _functions(variant)
    if other_skeleton != skeleton:
        return None
    return [lines for (lines, body), (_, other) in zip(functions, others, strict=True) if body != other]


def _enters(function: range, first_lines: set[int]) -> bool:
    """Whether one of the entered functions is this one, or is defined in it."""
    return any(line in function for line in first_lines)


class _CallTrace:
    """A context manager that collects the first line of every function of `file` that this process enters meanwhile."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.first_lines: set[int] = set()

    def __enter__(self) -> set[int]:
        self.before = sys.gettrace()
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        return self.first_lines

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)
        threading.settrace(self.before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> None:
        if frame.f_code.co_filename == self.file:
            self.first_lines.add(frame.f_code.co_firstlineno)
