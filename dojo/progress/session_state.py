"""The part of a drill, hunt or mock interview that is stored as JSON: where it stands, and what its last page needs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

MAX_FAILURES = 3  # of the final run that the last page tells

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


@dataclass(frozen=True)
class Failure:
    """A test that failed in the final run, with its whole message."""

    test: str
    message: str


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
    extra_lines: int = 0  # lines changed without need


@dataclass(frozen=True)
class RoundPart:
    """One of the sessions of a mock interview."""

    kind: str
    kata: str
    minutes: float
    bugs: int = 1  # of a hunt
    name: str = ""  # for the page before the round, which is shown once


@dataclass
class DrillState:
    """Where a session stands. `hunt` is set in hunts only, `parts` in mock interviews only."""

    stage: int = 1
    phase: Phase = "work"
    last_seen: float | None = None  # calendar time of the last recorded sign of life; what follows it is a pause
    paused_s: float = 0.0
    runs: int = 0
    hints: int = 0
    bought: list[str] = field(default_factory=list)  # explanations of failures, and names of mistakes
    explained: int = 0  # how often some were bought, at the price of a hint
    trouble: str = ""  # why the final run did not reach every stage
    results: list[StageResult] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)  # of the final run, the first MAX_FAILURES
    failed: int = 0  # how many tests failed in it
    mistakes: list[tuple[str, str]] = field(default_factory=list)  # named after it: name and sentence
    ratings: list[int] = field(default_factory=list)  # one for each follow-up question answered, 0 to 3
    repeat_advice: str = ""  # when to solve the kata again, as the last page says it
    round_id: int | None = None  # the mock interview that this session is a part of
    hunt: HuntState | None = None
    parts: list[RoundPart] = field(default_factory=list)

    @property
    def hints_paid(self) -> int:
        """How many hints and explanations are to be paid."""
        return self.hints + self.explained

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
            "bought": self.bought,
            "explained": self.explained,
            "trouble": self.trouble,
            "results": [[r.stage, r.passed, r.tests, r.first_passed] for r in self.results],
            "failures": [[failure.test, failure.message] for failure in self.failures],
            "failed": self.failed,
            "mistakes": self.mistakes,
            "ratings": self.ratings,
            "again": self.repeat_advice,
            "mock": self.round_id,
            "parts": [[p.kind, p.kata, p.minutes, *([p.bugs] if p.bugs > 1 else [])] for p in self.parts],
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
            bought=keys.get("bought", []),
            explained=keys.get("explained", 0),
            trouble=keys.get("trouble", ""),
            results=[
                StageResult(int(stage), int(passed), int(tests), at)
                for stage, passed, tests, at in keys.get("results", [])
            ],
            failures=[Failure(test, message) for test, message in keys.get("failures", [])],
            failed=keys.get("failed", 0),
            mistakes=[(name, sentence) for name, sentence in keys.get("mistakes", [])],
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
