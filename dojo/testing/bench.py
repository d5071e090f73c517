"""For bench files (`tests/KATA/bench.py`). A bench file has works; a work has sizes, ways to do it, and a check.

    @work(batch=8, vocab=128256, k=50, sweep={"vocab": (32064, 64128)}, grows={"batch": 1, "vocab": 1, "k": 0})
    def one_token_a_row(bench, batch, vocab, k):
        logits = bench.randn(batch, vocab)
        bench.katas(lambda kata: partial(kata.sample_top_k, logits, k))      # the reference, and yours when it passes
        bench.way("filter all", partial(filter_all, logits, k))              # another way to do it
        bench.peer("transformers", lambda: partial(transformers_way(), logits, k))  # a library, if it is installed
        bench.check(partial(expect_top_k, logits, k))                        # or bench.same(rtol=1e-5): equal results
        bench.floor(bytes=logits.nbytes)                                     # the minimum for any way

The keywords are the realistic size. `sweep` has other values for one dimension at a time. `grows` promises how the cost
grows: doubling that dimension multiplies the counted bytes (with `counts="flops"`: the FLOPs) by 2 to that power.
"""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from dojo.core.errors import UserError
from dojo.testing.probes import load_module

Way = Callable[[], Any]
Size = dict[str, int]


class Bench:
    """Collects the ways, the check and the minimum cost of one work at one size."""

    def __init__(
        self, implementations: Mapping[str, ModuleType], *, device: str = "cpu", adapters: Sequence[Path] | None = None
    ) -> None:
        """`implementations` has the reference first. `adapters` are the kata's peers; None leaves out all libraries."""
        self.implementations, self.device, self.adapters = implementations, device, adapters
        self.rng = torch.Generator().manual_seed(0)
        self.ways: dict[str, Way] = {}
        self.missing: list[str] = []  # libraries that are not installed
        self.bytes = self.flops = 0
        self.check(partial(_expect_same, rtol=1e-5, atol=1e-6))

    @property
    def reference(self) -> ModuleType:
        """What the others are compared with: the reference, or what stands in its place where only one is timed."""
        return next(iter(self.implementations.values()))

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self.rng, dtype=dtype).to(self.device)

    def randint(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.rng).to(self.device)

    def katas(self, make: Callable[[Any], Way]) -> None:
        """Adds a way for each implementation: `make(module)` does the work with the kata's own function."""
        self.ways |= {name: make(module) for name, module in self.implementations.items()}

    def way(self, name: str, run: Way) -> None:
        """Adds another way."""
        self.ways[name] = run

    def peer(self, library: str, make: Callable[[], Way]) -> None:
        """Adds the way `make()`, which may import `library`; only if libraries take part and this one is installed."""
        if self.adapters is None:
            return
        if importlib.util.find_spec(library):
            self.ways[library] = make()
        else:
            self.missing.append(library)

    def adapted(self, library: str, make: Callable[[Any], Way]) -> None:
        """Adds `make(module)` on the kata's adapter over `library`. For adapters whose own cost is negligible."""
        for path in self.adapters or ():
            if path.stem == library:
                name, source = f"peer_{library}", path.read_text(encoding="utf-8")
                self.peer(library, lambda: make(load_module(name, source, str(path))))  # noqa: B023 (called at once)

    def check(self, check: Callable[[dict[str, Any]], None]) -> None:
        """Sets the check: a function of the results by way, which raises AssertionError if one of them is wrong."""
        self.checked = check

    def same(self, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
        """Sets the check that all ways give the first way's result, to this tolerance."""
        self.check(partial(_expect_same, rtol=rtol, atol=atol))

    def floor(self, *, bytes: int = 0, flops: int = 0) -> None:
        """Sets the minimum memory traffic and FLOPs of any way."""
        self.bytes, self.flops = bytes, flops

    def agree(self) -> None:
        """Runs every way once and checks the results. Raises UserError if a way fails or differs."""
        results = {}
        for name, run in self.ways.items():
            torch.manual_seed(0)  # ways that draw the same numbers in the same order can be compared exactly
            try:
                results[name] = run()
            except Exception as error:
                raise UserError(f"'{name}' raises {type(error).__name__}: {error}. Nothing was timed.") from error
        try:
            self.checked(results)
        except AssertionError as error:
            sentence = " ".join(str(error).split())
            raise UserError(f"{sentence} Nothing was timed: mend that way, or leave it out.") from error


@dataclass(frozen=True)
class Work:
    """One thing that is measured, at a realistic size and at other sizes."""

    name: str
    says: str  # the first paragraph of its docstring
    prepare: Callable[..., None]
    size: Size
    sweep: dict[str, tuple[int, ...]] = field(default_factory=dict)
    grows: dict[str, float] = field(default_factory=dict)
    tiny: Size = field(default_factory=dict)
    counts: str = "bytes"
    gpu: Size = field(default_factory=dict)

    def sizes(self) -> list[tuple[str, Size]]:
        """(swept dimension, size) of each size; the realistic one first, with "" for the dimension."""
        return [("", self.size)] + [
            (name, {**self.size, name: value}) for name, values in self.sweep.items() for value in values
        ]

    def set_up(self, bench: Bench, size: Size) -> Bench:
        """Collects the ways at this size into `bench`, and returns it."""
        self.prepare(bench, **size)
        return bench


def work(
    *,
    sweep: dict[str, tuple[int, ...]] | None = None,
    grows: dict[str, float] | None = None,
    tiny: Size | None = None,
    counts: str = "bytes",
    gpu: Size | None = None,
    **size: int,
) -> Callable[[Callable[..., None]], Work]:
    """Makes a Work of a function `(bench, **size)`. `tiny` overrides sizes for checking only agreement or growth, `gpu` overrides them on a GPU."""

    def decorate(prepare: Callable[..., None]) -> Work:
        says = " ".join((prepare.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
        small = {**size, **(tiny or {})}
        return Work(prepare.__name__, says, prepare, dict(size), sweep or {}, grows or {}, small, counts, gpu or {})

    return decorate


@dataclass(frozen=True)
class Plan:
    """The content of a bench file: its works, and the alternatives that take part."""

    works: tuple[Work, ...]
    alternatives: tuple[str, ...]


def load_plan(path: Path) -> Plan:
    """Reads the bench file `path`. Raises UserError if it has no work."""
    module = load_module(f"bench_{path.parent.name}", path.read_text(encoding="utf-8"), str(path))
    works = tuple(value for value in vars(module).values() if isinstance(value, Work))
    if not works:
        raise UserError(f"{path} holds no @work; dojo/testing/bench.py says how one looks.")
    return Plan(works, tuple(getattr(module, "ALTERNATIVES", ())))


def _expect_same(results: dict[str, Any], *, rtol: float, atol: float) -> None:
    """Every result equals the first one, to this tolerance."""
    first, *others = results
    for name in others:

        def sentence(difference: str, name: str = name) -> str:
            return f"'{name}' gives another result than '{first}': {difference}"

        torch.testing.assert_close(
            _comparable(results[name]),
            _comparable(results[first]),
            rtol=rtol,
            atol=atol,
            check_dtype=False,
            msg=sentence,
        )


def _comparable(result: Any) -> Any:
    """The result with tensors detached, and tuples of any class as lists."""
    if isinstance(result, Tensor):
        return result.detach()
    return [_comparable(part) for part in result] if isinstance(result, tuple | list) else result
