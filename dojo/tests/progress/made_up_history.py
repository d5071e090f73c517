"""Makes up a history with its own clock: `past = Past(checkout, at=...)`, then `past.run(...).wait(minutes=5)`."""

import json
import random
import tomllib
from collections.abc import Sequence
from datetime import datetime
from types import SimpleNamespace
from unittest.mock import patch

from dojo.core.catalog import Catalog
from dojo.core.outcome import Diagnosis, Outcome
from dojo.core.paths import Checkout
from dojo.progress import runs
from dojo.progress.database import connect
from dojo.progress.schedule import due_now

NOON = datetime(2026, 3, 9, 12).timestamp()  # a Monday, in local time


class Past:
    """Records through the trainer's functions, with a made-up clock."""

    def __init__(self, checkout: Checkout, at: float = NOON) -> None:
        self.checkout, self.now = checkout, at

    def wait(self, *, days: float = 0, minutes: float = 0) -> "Past":
        self.now += days * 86400 + minutes * 60
        return self

    def run(
        self,
        kata: str,
        *stages: str,
        how: str = "test",
        named: Sequence[str | tuple[str, str]] = (),
        complete: bool = True,
        text: str = "x",
    ) -> "Past":
        """One run of this text. Each stage is a word of letters: p(assed), f(ailed), n(ot started), s(kipped)."""
        verdicts = {"p": "passed", "f": "failed", "n": "not started", "s": "skipped"}
        outcomes = [
            Outcome(f"test_{stage}_{number}", kata, stage, verdicts[letter], seconds=0.01)  # type: ignore[arg-type]
            for stage, letters in enumerate(stages, 1)
            for number, letter in enumerate(letters)
        ]
        pairs = [(item, item) if isinstance(item, str) else item for item in named]
        diagnoses = {kata: [Diagnosis(name, clause, True) for name, clause in pairs]}
        with self._clock():
            expected = {kata: len(outcomes) if complete else -1}
            runs.record_run(
                self.checkout,
                outcomes,
                expected,
                sources={kata: text},
                began=self.now,
                diagnoses=diagnoses,
                how=how,
            )
        return self

    def event(self, kata: str, what: str, detail: str = "") -> "Past":
        """An event: "hint", "show", "solution" or "reset" (then `detail` is the text put aside)."""
        with self._clock():
            runs.record_event(self.checkout, kata, what, detail)
        return self

    def session(
        self,
        kata: str,
        points: float | None,
        minutes: float = 20,
        *,
        kind: str = "drill",
        stages: int = 2,
        all_stages: int = 2,
        hints: int = 0,
        ended: bool = True,
        trouble: str = "",
    ) -> "Past":
        """A session that passed `stages` of `all_stages`. It has not ended without points, or with `ended=False` (while
        its follow-up questions are asked)."""
        with connect(self.checkout) as db:
            began, elapsed = self.now, minutes * 60
            self.wait(minutes=minutes)
            results = [[stage, 2 if stage <= stages else 1, 2, None] for stage in range(1, all_stages + 1)]
            number = db.execute(
                "INSERT INTO session(kind, kata, started, ended, minutes, elapsed, folder, points, detail) "
                "VALUES (?, ?, ?, ?, 30, ?, '', ?, ?)",
                (
                    kind,
                    kata,
                    began,
                    self.now if ended and points is not None else None,
                    elapsed,
                    points,
                    json.dumps({"results": results, "trouble": trouble}),
                ),
            ).lastrowid
            steps = [(elapsed * stage / all_stages, "stage", str(stage)) for stage in range(1, stages + 1)]
            steps += [(elapsed / 4, "hint", str(rung)) for rung in range(hints)]
            db.executemany(
                "INSERT INTO session_event(session, at, elapsed, what, detail) VALUES (?, ?, ?, ?, ?)",
                [(number, began + at, at, what, detail) for at, what, detail in steps],
            )
        return self

    def solve(self, kata: str, minutes: float = 4, *, hints: int = 0, how: str = "test") -> "Past":
        """An attempt, from reading the question to passing all tests."""
        self.event(kata, "show").wait(minutes=minutes / 2).run(kata, "pp", "pf", how=how)
        for _ in range(hints):
            self.event(kata, "hint")
        return self.wait(minutes=minutes / 2).run(kata, "pp", "pp", how=how)

    def _clock(self):
        return patch.object(runs, "time", SimpleNamespace(time=lambda: self.now))


def rich(checkout: Checkout, catalog: Catalog, now: float, weeks: int = 10) -> None:
    """The history of a diligent learner: attempts, repetitions, drills, some given up, some unfinished."""
    dice = random.Random(7)
    past = Past(checkout, now - weeks * 7 * 86400)
    katas = list(catalog.katas)
    begun: list[str] = []
    while past.now < now - 86400:
        waiting = [due.kata.name for due in due_now(checkout, catalog, past.now)]
        if len(begun) < 0.7 * len(katas) and (not waiting or dice.random() < 0.35):
            fresh = name = katas[len(begun)].name
        elif waiting:
            fresh, name = "", waiting[0]
        else:
            past.wait(days=1)
            continue
        kata = catalog[name]
        if fresh:
            begun.append(name)
        elif dice.random() < 0.35:
            _drill(past, name, dice, kata.minutes)
            past.wait(days=dice.uniform(0.2, 1.5))
            continue
        else:
            past.event(name, "reset")
        practice = 1.0 if fresh else 0.6
        _attempt(
            past, checkout, name, dice, kata.minutes * practice * dice.uniform(0.5, 1.7), stuck=len(begun) % 7 == 6
        )
        past.wait(days=dice.uniform(0.2, 2))


def _attempt(past: Past, checkout: Checkout, name: str, dice: random.Random, minutes: float, *, stuck: bool) -> None:
    known = [(entry["name"], entry["says"]) for entry in tomllib.loads(checkout.mistakes(name).read_text())["mistake"]][
        :3
    ]
    how = dice.choice(["watch", "watch", "test"])
    past.event(name, "show")
    all_passed = ("ppppp", "pppp", "pppp", "ppp")
    for step in range(8):
        past.wait(minutes=minutes / 8)
        done = min(4, step // 2 + (dice.random() < 0.4))
        named = [dice.choice(known)] if known and dice.random() < 0.4 else []
        stages = [
            word if n < done else "p" * (step % 2) + "f" * (len(word) - step % 2) for n, word in enumerate(all_passed)
        ]
        if step < 7:
            past.run(name, *stages, how=how, named=named if done < 4 else [])
        if dice.random() < 0.05:
            past.event(name, "hint")
        if stuck and step == 5:
            if dice.random() < 0.5:
                past.event(name, "solution")
            return
    past.run(name, *all_passed, how=how)


def _drill(past: Past, name: str, dice: random.Random, minutes: float) -> None:
    points = round(dice.uniform(40, 100), 1)
    stages = min(4, int(points // 24))
    past.session(name, points, minutes * dice.uniform(0.5, 1), stages=stages, all_stages=4, hints=dice.randrange(2))
