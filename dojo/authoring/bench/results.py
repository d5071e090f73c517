"""TODO: one line."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Request:
    """What to measure. `own` has the learner's files by kata; only answers that pass their tests belong in there."""

    root: str
    katas: list[str]
    own: dict[str, str]
    threads: int
    device: str
    peers: bool
    sweep: bool
    seconds: float  # for each size


@dataclass(frozen=True)
class Found:
    """One way of one work at one size."""

    kata: str
    work: str
    says: str
    size: dict[str, int]
    swept: str  # the dimension that differs from the realistic size, or ""
    threads: int
    way: str
    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int
    counts: str  # which of the next two says more about this work: "bytes" or "flops"
    bytes: int
    flops: int
    operators: int
    floor: float  # seconds that the floor's bytes and FLOPs take at the measured rates; 0 where none is stated


@dataclass
class Report:
    """All that one run found."""

    device: str
    machine: dict[str, Any] = field(default_factory=dict)
    ceilings: list[dict[str, float]] = field(default_factory=list)
    found: list[Found] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out, and why
    problems: list[str] = field(default_factory=list)  # what went wrong

    def note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
