"""Probes: what can be observed of an implementation, without holding any answer.

`tests/probes/<kata>.py` has two functions:

    def cases(rng): yield Case("T=0.3", of="temperature_probs", logits=randn(rng, 4, 11), temperature=0.3)
    def run(kata, case): return {"probs": kata.temperature_probs(case.logits.clone(), case.temperature)}

`gather` runs one implementation over the cases; `same` compares two pieces of evidence by kind. The reference runs the
same probe, so one probe grades, names a learner's mistake, and tells whether a mutant is equivalent.
"""

import importlib.util
import math
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from dojo.core.errors import UserError
from dojo.core.outcome import is_unwritten

# (relative, absolute) by dtype: wide enough for another order of summation, far narrower than any mistake.
TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-4, 1e-6), torch.float16: (1e-2, 1e-3)}
WIDE = (4e-2, 1e-3)  # bfloat16 keeps 8 bits
FALSE_ALARM = 1e-6
KATA_FILE = "<kata "  # how the file names of modules under test begin


class Case(SimpleNamespace):
    """One named input. `of` is the function or class it exercises; the rest are its inputs, as attributes."""

    def __init__(self, name: str, *, of: str, **inputs: Any) -> None:
        super().__init__(name=name, of=of, **inputs)


@dataclass(frozen=True)
class Draws:
    """Raw draws of a sampler, int64 in [0, categories): compared as counts, by a chi-square test of homogeneity."""

    draws: Tensor
    categories: int

    def counted(self) -> "Counts | Tensor":
        """How often each category was drawn; the draws themselves where they are no such categories."""
        draws = self.draws
        if not isinstance(draws, Tensor):
            return draws  # None, say: it equals nothing that a sampler gives
        whole = not (draws.is_floating_point() or draws.is_complex() or draws.dtype == torch.bool)
        if not whole or (draws.numel() and not (0 <= draws.min() and draws.max() < self.categories)):
            return draws.detach().clone()
        return Counts(torch.bincount(draws.flatten(), minlength=self.categories))


@dataclass(frozen=True)
class Counts:
    """Draws, counted."""

    counts: Tensor  # int64 [categories]


@dataclass(frozen=True)
class Pairs:
    """Two tensors of which only shape, dtype and equality are evidence: what one seed gave twice, say.

    Whoever judges compares them, not the code under test. With `rows`, which rows are equal.
    """

    a: Tensor
    b: Tensor
    rows: bool = False

    def equal(self) -> Any:
        """Whether they are equal (a NaN equals a NaN); with `rows`, for each row."""
        if not (isinstance(self.a, Tensor) and isinstance(self.b, Tensor)):
            return "no tensor"
        if self.a.shape != self.b.shape or self.a.dtype != self.b.dtype:
            return "another shape or dtype"
        alike = (self.a == self.b) | ((self.a != self.a) & (self.b != self.b))
        if self.rows and alike.dim():
            return [list(alike.shape), alike.flatten(1).all(1) if alike.dim() > 1 else alike]
        return [list(alike.shape), str(self.a.dtype), bool(alike.all())]


@dataclass(frozen=True)
class Raised:
    """An exception instead of evidence."""

    name: str
    value_error: bool  # really a ValueError (a class of that name need not be)
    not_started: bool = False
    note: str = field(default="", compare=False)  # what it said and where; for people (see `note_of`)


@dataclass(frozen=True)
class Probe:
    """The two functions of one probe file."""

    cases: Callable[[torch.Generator], Iterator[Case]]
    run: Callable[[Any, Case], dict[str, Any]]


Evidence = dict[str, dict[str, Any]]  # case name -> what was seen


def load_probe(path: Path) -> Probe:
    """The probe in `path`; raises UserError when it lacks one of its functions."""
    module = load_module(f"probe_{path.stem}", path.read_text(encoding="utf-8"), str(path))
    missing = [name for name in ("cases", "run") if not callable(getattr(module, name, None))]
    if missing:
        raise UserError(f"{path} has no function {missing[0]}(); a probe has cases(rng) and run(kata, case).")
    return Probe(module.cases, module.run)


def load_module(name: str, source: str, filename: str) -> ModuleType:
    """Executes `source` as a module of its own, outside the `katas` package."""
    spec = importlib.util.spec_from_loader(name, loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = filename
    sys.modules[name] = module  # dataclasses look their own module up
    try:
        exec(compile(source, filename, "exec"), module.__dict__)
    finally:
        del sys.modules[name]
    return module


def gather(probe: Probe, kata: Any, seed: int) -> Evidence:
    """Everything the probe sees of `kata` (a module, or anything with its functions as attributes)."""
    return {case.name: counted(observe(probe, kata, case, seed + 2**20)) for case in cases(probe, seed)}


def gather_sources(probe: Probe, kata: str, sources: Iterable[str], seed: int) -> list[Evidence]:
    """The evidence of each of several source texts of one kata."""
    return [gather(probe, load_module(f"reference_{kata}", source, f"<{kata}>"), seed) for source in sources]


def observe(probe: Probe, kata: Any, case: Case, noise: int) -> dict[str, Any]:
    """What the probe sees in one case, raw; `noise` seeds the global stream.

    `noise` is not the cases' own seed, or a layer could start at its input.
    """
    # Not torch.manual_seed, which also asks every kind of accelerator and takes 30 times as long.
    torch.default_generator.manual_seed(noise)
    try:
        return _detached(probe.run(kata, case))
    except (Exception, SystemExit) as error:
        return {
            "raised": Raised(
                type(error).__name__, isinstance(error, ValueError), is_unwritten(error), note_of(error, case.of)
            )
        }


def note_of(error: BaseException, of: str = "") -> str:
    """What an exception says and where it was raised: " (line 7)" of the kata, or " (after f)" in the probe.

    The text may be the kata's.
    """
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename.startswith(KATA_FILE)]
    try:
        text = " ".join(str(error).split())[:300]
    except Exception:
        text = ""
    return text + (f" (line {lines[-1]})" if lines else f" (after {of})" if of else "")


def cases(probe: Probe, seed: int) -> list[Case]:
    """The probe's cases for one seed; raises UserError when two share a name."""
    found = list(probe.cases(torch.Generator().manual_seed(seed)))
    names = [case.name for case in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UserError(f"two probe cases are both called {sorted(twice)[0]!r}; give each its own name.")
    return found


def not_started(seen: dict[str, Any]) -> bool:
    return isinstance(seen.get("raised"), Raised) and seen["raised"].not_started


def same(a: Any, b: Any) -> bool:
    """Whether two pieces of evidence are equal: tensors and floats closely, draws in distribution, the rest exactly."""
    a, b = (counted(side) if isinstance(side, Draws | Pairs) else side for side in (a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return _same_tensors(a, b)
    if isinstance(a, Counts) and isinstance(b, Counts):
        alike = a.counts.shape == b.counts.shape and bool(a.counts.sum() == b.counts.sum())  # one lucky draw is none
        return alike and _homogeneous(a.counts, b.counts) >= FALSE_ALARM
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-7, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return type(a) is type(b) and bool(a == b)


def _same_tensors(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_complex():
        return _same_tensors(torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj()))
    if not a.is_floating_point():
        return torch.equal(a, b)
    rtol, atol = TOLERANCE.get(a.dtype, WIDE)
    return torch.allclose(a.double(), b.double(), rtol=rtol, atol=atol, equal_nan=True)


def _homogeneous(a: Tensor, b: Tensor) -> float:
    """p-value that two rows of counts come from one distribution."""
    counts = torch.stack([a, b]).double()
    counts = counts[:, counts.sum(0) > 0]
    totals = counts.sum(1, keepdim=True)
    if not totals.all() or counts.shape[1] < 2:
        return 1.0 if bool((totals > 0).all()) or torch.equal(totals[0], totals[1]) else 0.0
    expected = totals * counts.sum(0, keepdim=True) / counts.sum()
    statistic = ((counts - expected) ** 2 / expected).sum()
    return torch.special.gammaincc(torch.tensor((counts.shape[1] - 1) / 2, dtype=torch.float64), statistic / 2).item()


def counted(tree: Any) -> Any:
    """Evidence with its draws counted and its pairs compared: smaller, and equal to what `same` compares."""
    if isinstance(tree, dict):
        return {key: counted(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [counted(value) for value in tree]
    if isinstance(tree, Draws):
        return tree.counted()
    return tree.equal() if isinstance(tree, Pairs) else tree


def _detached(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(key): _detached(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_detached(value) for value in tree]
    if isinstance(tree, Draws):
        return Draws(_detached(tree.draws), tree.categories)
    if isinstance(tree, Pairs):
        return Pairs(_detached(tree.a), _detached(tree.b), tree.rows)
    return tree.detach().clone().as_subclass(Tensor) if isinstance(tree, Tensor) else tree
