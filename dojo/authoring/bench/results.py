"""What a measuring process is asked for, what it measures, and the report of one `kata dev bench`."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class MeasureRequest:
    """What one measuring process has to do."""

    root: str
    katas: list[str]
    learner_files: dict[str, str]  # by kata; only files that pass their tests
    threads: int
    device: str
    peers: bool
    sweep: bool
    seconds: float  # for each size


@dataclass(frozen=True)
class Measurement:
    """How long one way of one work takes at one size."""

    kata: str
    work: str
    says: str
    size: dict[str, int]
    swept: str  # the dimension that differs from the realistic size, or ""
    threads: int
    way: str
    seconds: float
    ratio: float  # times as long as the reference: median, and below it the quartiles
    low: float
    high: float
    rounds: int
    counts: str  # which of the next two says more about this work: "bytes" or "flops"
    bytes: int
    flops: int
    operators: int
    floor: float  # seconds that the floor's bytes and FLOPs take at the measured rates; 0 where none is stated


@dataclass
class BenchReport:
    """All results of one `kata dev bench`."""

    device: str
    machine: dict[str, Any] = field(default_factory=dict)
    ceilings: list[dict[str, float]] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was left out, and why
    problems: list[str] = field(default_factory=list)  # what went wrong

    def note(self, sentence: str) -> None:
        """Adds a note, unless it is there already."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def as_dict(self) -> dict[str, Any]:
        """The content of bench.json, where the measurements are called "found"."""
        return {"found" if name == "measurements" else name: value for name, value in asdict(self).items()}
