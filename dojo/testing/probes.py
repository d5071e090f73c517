"""Probes: they collect evidence of what an implementation computes, and hold no answers.

A probe is a file `tests/<kata>/probe.py` with two functions:

    def cases(rng): yield Case("T=0.3", of="temperature_probs", logits=randn(rng, 4, 11), temperature=0.3)
    def run(kata, case): return {"probs": kata.temperature_probs(case.logits.clone(), case.temperature)}

`gather` collects the evidence of one implementation over all cases, and `same` compares two pieces of evidence. The
right evidence is the reference's. So one probe is enough to grade a submission, to name a learner's mistake, and to
decide whether a mutant is equivalent.
"""

import importlib.util
import linecache
import math
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dojo.core.errors import UserError
from dojo.core.outcome import is_unwritten
from dojo.testing.chi_square import homogeneity_p_value

# (relative, absolute): wide enough for another order of summation, far narrower than any mistake.
TOLERANCES = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-4, 1e-6), torch.float16: (1e-2, 1e-3)}
OTHER_TOLERANCE = (4e-2, 1e-3)  # bfloat16 has 8 bits of precision
FALSE_ALARM = 1e-6  # probability that two equal distributions compare as different
MAX_NOTE_CHARS = 300
KATA_FILE = "<kata "  # prefix of the file names of modules under test


class Case(SimpleNamespace):
    """One named input. `of` is the name of the function or class that it exercises; the inputs are attributes."""

    def __init__(self, name: str, *, of: str, **inputs: Any) -> None:
        super().__init__(name=name, of=of, **inputs)


@dataclass(frozen=True)
class Draws:
    """Draws of a sampler, int64 in [0, categories). Compared by their counts, with a chi-square test of homogeneity."""

    draws: Tensor
    categories: int

    def counted(self) -> "Counts | Tensor":
        """How often each category was drawn. The draws themselves if they are not integers in that range."""
        draws = self.draws
        if not isinstance(draws, Tensor):
            return draws  # compares unequal to any counts
        integers = not (draws.is_floating_point() or draws.is_complex() or draws.dtype == torch.bool)
        if not integers or (draws.numel() and not (0 <= draws.min() and draws.max() < self.categories)):
            return draws.detach().clone()
        return Counts(torch.bincount(draws.flatten(), minlength=self.categories))


@dataclass(frozen=True)
class Counts:
    """How often a sampler drew each category."""

    counts: Tensor  # int64 [categories]


@dataclass(frozen=True)
class Pairs:
    """Two tensors that the judge compares with each other; only shape, dtype and equality are evidence.

    For example, two draws from one seed. With `rows`, it is evidence which of their rows are equal.
    """

    a: Tensor
    b: Tensor
    rows: bool = False

    def equal(self) -> Any:
        """[shape, dtype, whether they are equal]; with `rows` [shape, whether each row is equal]. A NaN equals a NaN."""
        if not (isinstance(self.a, Tensor) and isinstance(self.b, Tensor)):
            return "no tensor"
        if self.a.shape != self.b.shape or self.a.dtype != self.b.dtype:
            return "another shape or dtype"
        equal = (self.a == self.b) | ((self.a != self.a) & (self.b != self.b))
        if self.rows and equal.dim():
            return [list(equal.shape), equal.flatten(1).all(1) if equal.dim() > 1 else equal]
        return [list(equal.shape), str(self.a.dtype), bool(equal.all())]


@dataclass(frozen=True)
class Raised:
    """An exception instead of evidence."""

    name: str
    value_error: bool  # an instance of ValueError (its class may have any name)
    not_started: bool = False  # of an unwritten stub
    note: str = field(default="", compare=False)  # for people: its message and place (see `note_of`)


@dataclass(frozen=True)
class Probe:
    """The two functions of one probe file."""

    cases: Callable[[torch.Generator], Iterator[Case]]
    run: Callable[[Any, Case], dict[str, Any]]


Evidence = dict[str, dict[str, Any]]  # case name -> what the probe's run() returned for it


def load_probe(path: Path) -> Probe:
    """The probe in the file `path`. Raises UserError if it lacks one of its functions."""
    module = load_module(f"probe_{path.parent.name}", path.read_text(encoding="utf-8"), str(path))
    missing = [name for name in ("cases", "run") if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"{path} has no function {missing[0]}(); a probe has cases(rng) and run(kata, case).")
    return Probe(module.cases, module.run)


def load_module(name: str, source: str, filename: str, *, keep: bool = False) -> ModuleType:
    """Executes `source` as a new module called `name`, which is not importable, unless it is to `keep` in sys.modules.

    `inspect.getsource`, and torch.jit.script with it, find the source in either case.
    """
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = filename
    if filename.startswith("<"):  # there is no such file. Without a time, the entry is never compared with one
        linecache.cache[filename] = len(source), None, source.splitlines(keepends=True), filename
    sys.modules[name] = module  # @dataclass looks up the module of its class
    try:
        exec(compile(source, filename, "exec"), module.__dict__)
    finally:
        if not keep:
            del sys.modules[name]
    return module


def gather(probe: Probe, kata: Any, seed: int) -> Evidence:
    """Collects the evidence of `kata` (a module, or anything with its functions as attributes) over all cases of `seed`."""
    return {case.name: gather_case(probe, kata, case, seed) for case in cases(probe, seed)}


def gather_case(probe: Probe, kata: Any, case: Case, seed: int) -> dict[str, Any]:
    """Collects the evidence of `kata` for one of the cases of `seed`."""
    return counted(observe(probe, kata, case, seed + 2**20))  # type: ignore[no-any-return]


def observe(probe: Probe, kata: Any, case: Case, noise: int) -> dict[str, Any]:
    """Collects the evidence of one case, with draws and pairs as they are (see `counted`).

    `noise` seeds torch's global random stream. It must not be the seed of the cases, or the initial weights of a layer
    could equal its input.
    """
    # torch.manual_seed would also seed every accelerator, which takes 30 times as long.
    torch.default_generator.manual_seed(noise)
    try:
        with torch.enable_grad():  # also where the case before has left gradients off
            evidence: dict[str, Any] = _detached(probe.run(kata, case))
        return evidence
    except (Exception, SystemExit) as error:
        return {"raised": raised_by(error, getattr(kata, "__file__", None), case.of)}


def raised_by(error: BaseException, file: str | None = None, of: str = "") -> Raised:
    """The evidence of an exception. `file` is the kata's; only in it can a stub be unwritten. `of` is the case's function."""
    not_started = file is not None and is_unwritten(error, Path(file))
    return Raised(type(error).__name__, isinstance(error, ValueError), not_started, note_of(error, of))


def note_of(error: BaseException, of: str = "") -> str:
    """The exception's message and where it was raised: " (line 7)" of the kata, or " (after f)" in the probe.

    The kata under test may have written the message, so it must not be trusted.
    """
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename.startswith(KATA_FILE)]
    try:
        beginning = str(error)[: 10 * MAX_NOTE_CHARS]  # of a text that may have a hundred megabytes
        text = " ".join(beginning.split())[:MAX_NOTE_CHARS]
    except Exception:
        text = ""
    return text + (f" (line {lines[-1]})" if lines else f" (after {of})" if of else "")


def cases(probe: Probe, seed: int) -> list[Case]:
    """The probe's cases for one seed. Raises UserError if two have the same name."""
    all_cases = list(probe.cases(torch.Generator().manual_seed(seed)))
    names = [case.name for case in all_cases]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise UserError(f"two probe cases are both called {min(repeated)!r}; give each its own name.")
    return all_cases


def not_started(case_evidence: dict[str, Any]) -> bool:
    """Whether the case reached an unwritten stub."""
    raised = case_evidence.get("raised")
    return isinstance(raised, Raised) and raised.not_started


def same(a: Any, b: Any) -> bool:
    """Whether two pieces of evidence agree: tensors and floats within tolerance, draws in distribution, all else exactly."""
    a, b = (counted(side) if isinstance(side, Draws | Pairs) else side for side in (a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _same_tensors(a, b)
    if isinstance(a, Counts) and isinstance(b, Counts):
        # Fewer draws would agree too easily, so their number has to be the same.
        if torch.equal(a.counts, b.counts):
            return True
        comparable = a.counts.shape == b.counts.shape and bool(a.counts.sum() == b.counts.sum())
        return comparable and homogeneity_p_value(a.counts, b.counts) >= FALSE_ALARM
    if isinstance(a, Raised) and isinstance(b, Raised) and a.value_error and b.value_error:
        return a.not_started == b.not_started  # a ValueError is promised; a class of one's own may be one
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def tolerance(dtype: torch.dtype) -> tuple[float, float]:
    """(relative, absolute) tolerance for comparing floating-point tensors."""
    return TOLERANCES.get(dtype, OTHER_TOLERANCE)


def _same_tensors(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if torch.equal(a, b):  # a tenth of what the comparison within a tolerance takes
        return True
    if a.is_complex():
        return _same_tensors(torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj()))
    if not a.is_floating_point():
        return False
    rtol, atol = tolerance(a.dtype)
    return torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)


def counted(tree: Any) -> Any:
    """The evidence with draws counted and pairs compared. It is smaller, and `same` gives the same results for it."""
    if isinstance(tree, dict):
        return {key: counted(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [counted(value) for value in tree]
    if isinstance(tree, Draws):
        return tree.counted()
    return tree.equal() if isinstance(tree, Pairs) else tree


def _detached(tree: Any) -> Any:
    """A copy of the evidence without autograd graphs and tensor subclasses; tuples become lists."""
    if isinstance(tree, dict):
        return {str(key): _detached(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_detached(value) for value in tree]
    if isinstance(tree, Draws):
        return Draws(_detached(tree.draws), tree.categories)
    if isinstance(tree, Pairs):
        return Pairs(_detached(tree.a), _detached(tree.b), tree.rows)
    return tree.detach().clone().as_subclass(Tensor) if isinstance(tree, Tensor) else tree
