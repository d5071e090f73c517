"""The part of a drill, hunt or mock interview that is stored as JSON: where it stands, and what its last page needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Phase = Literal["work", "paused", "grading", "asking", "answered", "done"]


@dataclass(frozen=True)
class StageResult:
    """The final grading of one stage. `first_passed` is in seconds of the drill's clock, None if it never passed."""

    stage: int
    passed: int
    tests: int
    first_passed: float | None

    @property
    def share(self) -> float:
        return self.passed / self.tests if self.tests else 0.0


@dataclass
class PlantedBug:
    """One mistake planted for a hunt."""

    name: str
    says: str
    test: str  # the test function that fails because of it
    where: str  # the function or class that it is in
    mended: bool | None = None  # None until the hunt is graded


@dataclass
class HuntState:
    """What a hunt has beyond a drill."""

    bugs: list[PlantedBug]
    seed: int
    planted: str  # the file as the hunt began
    working: str  # the same file without the bugs
    extra_lines: int = 0  # lines changed that held no bug


@dataclass(frozen=True)
class RoundPart:
    """One of the sessions of a mock interview."""

    kind: str
    kata: str
    minutes: float


@dataclass
class DrillState:
    """Where a session stands. `hunt` is set in hunts only, `parts` in mock interviews only."""

    stage: int = 1
    phase: Phase = "work"
    last_seen: float | None = None  # calendar time of the last recorded sign of life; what follows it is a pause
    paused_s: float = 0.0
    runs: int = 0
    hints: int = 0
    trouble: str = ""  # why the final run did not reach every stage
    results: list[StageResult] = field(default_factory=list)
    ratings: list[int] = field(default_factory=list)  # one for each follow-up question answered, 1 to 3
    repeat_advice: str = ""  # when to solve the kata again, as the last page says it
    round_id: int | None = None  # the mock interview that this session is a part of
    hunt: HuntState | None = None
    parts: list[RoundPart] = field(default_factory=list)

    @property
    def solved(self) -> bool:
        """Whether the final grading reached every test, and all of them passed."""
        return bool(self.results) and not self.trouble and all(result.share == 1 for result in self.results)

    def to_json(self) -> str:
        """The state as text. Empty values are left out."""
        keys: dict[str, Any] = {
            "stage": self.stage,
            "phase": self.phase,
            "seen": self.last_seen,
            "paused": self.paused_s,
            "runs": self.runs,
            "hints": self.hints,
            "trouble": self.trouble,
            "results": [[r.stage, r.passed, r.tests, r.first_passed] for r in self.results],
            "ratings": self.ratings,
            "again": self.repeat_advice,
            "mock": self.round_id,
            "parts": [[part.kind, part.kata, part.minutes] for part in self.parts],
        }
        if self.hunt:
            keys |= _hunt_to_keys(self.hunt)
        return json.dumps({key: value for key, value in keys.items() if value not in (None, "", [])})

    @classmethod
    def from_json(cls, text: str) -> "DrillState":
        """The state stored as `text` by this version or another one.

        Missing keys get their defaults and unknown ones are ignored. A text that cannot be read gives a new state.
        """
        try:
            return cls._from_keys(json.loads(text))
        except (ValueError, TypeError, AttributeError):
            return cls()

    @classmethod
    def _from_keys(cls, keys: Mapping[str, Any]) -> "DrillState":
        return cls(
            stage=keys.get("stage", 1),
            phase=keys.get("phase", "work"),
            last_seen=keys.get("seen"),
            paused_s=keys.get("paused", 0.0),
            runs=keys.get("runs", 0),
            hints=keys.get("hints", 0),
            trouble=keys.get("trouble", ""),
            results=[
                StageResult(int(stage), int(passed), int(tests), at)
                for stage, passed, tests, at in keys.get("results", [])
            ],
            ratings=keys.get("ratings", []),
            repeat_advice=keys.get("again", ""),
            round_id=keys.get("mock"),
            hunt=_hunt_from_keys(keys) if "bugs" in keys else None,
            parts=[RoundPart(*part) for part in keys.get("parts", [])],
        )


def _hunt_to_keys(hunt: HuntState) -> dict[str, Any]:
    bugs = []
    for bug in hunt.bugs:
        stored = {"name": bug.name, "says": bug.says, "test": bug.test, "where": bug.where}
        if bug.mended is not None:
            stored["found"] = "yes" if bug.mended else ""
        bugs.append(stored)
    return {
        "bugs": bugs,
        "seed": hunt.seed,
        "planted": hunt.planted,
        "working": hunt.working,
        "extra": hunt.extra_lines,
    }


def _hunt_from_keys(keys: Mapping[str, Any]) -> HuntState:
    bugs = [
        PlantedBug(
            name=bug.get("name", ""),
            says=bug.get("says", ""),
            test=bug.get("test", ""),
            where=bug.get("where", ""),
            mended=bool(bug["found"]) if "found" in bug else None,
        )
        for bug in keys["bugs"]
    ]
    return HuntState(bugs, keys.get("seed", 0), keys.get("planted", ""), keys.get("working", ""), keys.get("extra", 0))
