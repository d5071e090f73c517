"""What a bench file (`tests/bench/KATA.py`) is made of: works, each with sizes, ways to do it, and a check.

    @work(batch=8, vocab=128256, k=50, sweep={"vocab": (32064, 64128)}, grows={"batch": 1, "vocab": 1, "k": 0})
    def one_token_a_row(bench, batch, vocab, k):
        logits = bench.randn(batch, vocab)
        bench.katas(lambda kata: partial(kata.sample_top_k, logits, k))      # the reference, and yours when it passes
        bench.way("filter all", partial(filter_all, logits, k))              # the naive way
        bench.peer("transformers", lambda: partial(transformers_way(), logits, k))  # imports only when it is wanted
        bench.check(partial(expect_top_k, logits, k))                        # or bench.same(rtol=1e-5): all ways alike
        bench.floor(bytes=logits.nbytes)                                     # what any way must spend

The keywords are the realistic size. `sweep` has other values for one dimension at a time. `grows` is the promise about
growth: doubling that dimension multiplies the counted bytes (`counts="flops"`: the FLOPs) by 2 to that power.
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
    """Collects what one work consists of at one size. `implementations` are modules: the reference first."""

    def __init__(
        self, implementations: Mapping[str, ModuleType], *, device: str = "cpu", adapters: Sequence[Path] | None = None
    ) -> None:
        """`adapters` are the kata's files under solutions/peers/; None if libraries are not wanted."""
        self.implementations, self.device, self.adapters = implementations, device, adapters
        self.rng = torch.Generator().manual_seed(0)
        self.ways: dict[str, Way] = {}
        self.missing: list[str] = []  # libraries that were asked for and are not installed
        self.bytes = self.flops = 0
        self.check(partial(_alike, rtol=1e-5, atol=1e-6))

    def randn(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(shape, generator=self.rng, dtype=dtype).to(self.device)

    def randint(self, high: int, *shape: int) -> Tensor:
        return torch.randint(high, shape, generator=self.rng).to(self.device)

    def katas(self, make: Callable[[Any], Way]) -> None:
        """`make(module)` is the work as the kata's own function does it."""
        self.ways |= {name: make(module) for name, module in self.implementations.items()}

    def way(self, name: str, run: Way) -> None:
        self.ways[name] = run

    def peer(self, library: str, make: Callable[[], Way]) -> None:
        """`make()` may import `library`; it is called only if libraries are wanted and this one is there."""
        if self.adapters is None:
            return
        if importlib.util.find_spec(library):
            self.ways[library] = make()
        else:
            self.missing.append(library)

    def adapted(self, library: str, make: Callable[[Any], Way]) -> None:
        """`make(module)` on the kata's adapter over `library`; for adapters that add nothing worth timing."""
        for path in self.adapters or ():
            if path.stem == library:
                name, source = f"peer_{library}", path.read_text(encoding="utf-8")
                self.peer(library, lambda: make(load_module(name, source, str(path))))  # noqa: B023 (called at once)

    def check(self, check: Callable[[dict[str, Any]], None]) -> None:
        """`check(results by way)` raises AssertionError with a sentence if one of them is wrong."""
        self.checked = check

    def same(self, *, rtol: float = 1e-5, atol: float = 1e-6) -> None:
        """All ways give the reference's result, to this tolerance."""
        self.check(partial(_alike, rtol=rtol, atol=atol))

    def floor(self, *, bytes: int = 0, flops: int = 0) -> None:
        """Memory traffic and FLOPs that no way can do without."""
        self.bytes, self.flops = bytes, flops

    def agree(self) -> None:
        """Runs every way once and checks the results. Raises UserError with what differs."""
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
            said = " ".join(str(error).split())
            raise UserError(f"{said} Nothing was timed: mend that way, or leave it out.") from error


@dataclass(frozen=True)
class Work:
    """One thing that is measured, at a realistic size and at others."""

    name: str
    says: str
    prepare: Callable[..., None]
    size: Size
    sweep: dict[str, tuple[int, ...]] = field(default_factory=dict)
    grows: dict[str, float] = field(default_factory=dict)
    tiny: Size = field(default_factory=dict)
    counts: str = "bytes"

    def sizes(self) -> list[tuple[str, Size]]:
        """(what is swept, size): the realistic one first, under ""."""
        return [("", self.size)] + [
            (name, {**self.size, name: value}) for name, values in self.sweep.items() for value in values
        ]

    def set_up(self, bench: Bench, size: Size) -> Bench:
        self.prepare(bench, **size)
        return bench


def work(
    *,
    sweep: dict[str, tuple[int, ...]] | None = None,
    grows: dict[str, float] | None = None,
    tiny: Size | None = None,
    counts: str = "bytes",
    **size: int,
) -> Callable[[Callable[..., None]], Work]:
    """Makes a Work of a function `(bench, **size)`. `tiny` overrides sizes where only agreement or growth is checked."""

    def made(prepare: Callable[..., None]) -> Work:
        says = " ".join((prepare.__doc__ or "").split("\n\n")[0].split()).rstrip(".")
        small = {**size, **(tiny or {})}
        return Work(prepare.__name__, says, prepare, dict(size), sweep or {}, grows or {}, small, counts)

    return made


@dataclass(frozen=True)
class Plan:
    """A bench file: its works, and which alternatives take part."""

    works: tuple[Work, ...]
    alternatives: tuple[str, ...]


def load_plan(path: Path) -> Plan:
    """The bench file in `path`; raises UserError when it holds no work."""
    module = load_module(f"bench_{path.stem}", path.read_text(encoding="utf-8"), str(path))
    works = tuple(value for value in vars(module).values() if isinstance(value, Work))
    if not works:
        raise UserError(f"{path} holds no @work; dojo/bench/work.py says how one looks.")
    return Plan(works, tuple(getattr(module, "ALTERNATIVES", ())))


def _alike(results: dict[str, Any], *, rtol: float, atol: float) -> None:
    first, *others = results
    for name in others:

        def sentence(found: str, name: str = name) -> str:
            return f"'{name}' gives another result than '{first}': {found}"

        torch.testing.assert_close(
            _plain(results[name]), _plain(results[first]), rtol=rtol, atol=atol, check_dtype=False, msg=sentence
        )


def _plain(result: Any) -> Any:
    """Tensors without their graph; tuples of any kind as lists."""
    if isinstance(result, Tensor):
        return result.detach()
    return [_plain(part) for part in result] if isinstance(result, tuple | list) else result
