"""The trials of `kata dev verify`. Each runs in a forked child and returns plain data."""

import warnings
from dataclasses import dataclass
from functools import lru_cache

from dojo.core.mistakes import Mistake
from dojo.core.paths import Checkout
from dojo.engine.diagnosis import known_evidence
from dojo.engine.runner import run_tests
from dojo.testing import probes

EQUIVALENCE_SEEDS = (0, 1)


@dataclass(frozen=True)
class TestTrial:
    """The outcomes of a complete run that should pass, or on the stub be "not started" in every test."""

    passed: tuple[str, ...]
    not_started: tuple[str, ...]
    wrong: tuple[str, ...]  # "test: message" of everything else
    seconds: float

    @property
    def failures(self) -> tuple[str, ...]:
        """The tests that do not pass, with their messages. On a right answer there are none."""
        return self.wrong + tuple(f"{test}: not started" for test in self.not_started)


@dataclass(frozen=True)
class MistakeTrial:
    """Whether the named test catches one mistake, and whether the run diagnoses it."""

    caught: bool
    named: bool
    first_line: str


@dataclass(frozen=True)
class MutantTrial:
    """The test that fails on a mutant, or "". If none fails: whether the probe sees a difference."""

    killed_by: str
    differs: bool = False


def try_source(checkout: Checkout, kata: str, source: str, seed: int) -> TestTrial:
    run = run_tests(checkout, kata, source, seed=seed, extra=["--no-tracebacks", "--no-naming"])
    by = {v: tuple(o.test for o in run.outcomes if o.verdict == v) for v in ("passed", "not started")}
    wrong = tuple(f"{o.test}: {_first_line(o.message)}" for o in run.failures if o.verdict != "not started")
    if not run.outcomes:
        wrong = (f"no test ran: {run.output.strip()[-400:]}",)
    return TestTrial(by["passed"], by["not started"], wrong, sum(o.seconds for o in run.outcomes))


def try_mistake(checkout: Checkout, kata: str, mistake: Mistake, source: str, seed: int) -> MistakeTrial:
    run = run_tests(checkout, kata, source, seed=seed, only=mistake.caught_by)
    failed = [o for o in run.failures if o.verdict == "failed"]
    named = any(diagnosis.whole and diagnosis.says == mistake.says for diagnosis in run.diagnoses)
    return MistakeTrial(
        bool(failed), named, _first_line(failed[0].message) if failed else " ".join(run.output.split())[-200:]
    )


def try_mutant(checkout: Checkout, kata: str, source: str, seed: int) -> MutantTrial:
    run = run_tests(checkout, kata, source, seed=seed, extra=["-x", "--tb=no", "--no-tracebacks", "--no-naming"])
    if not run.all_passed:
        return MutantTrial(killed_by=run.failures[0].test if run.failures else "import")
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    return MutantTrial("", differs=any(_differs(checkout, kata, source, reference, seed) for seed in EQUIVALENCE_SEEDS))


def unseen_mistakes(checkout: Checkout, kata: str, seed: int) -> list[int]:
    """The numbers of the named mistakes whose evidence equals the reference's. Fills the cache of `known_evidence`."""
    with warnings.catch_warnings(action="ignore"):
        right, wrong = known_evidence(checkout, kata, probes.load_probe(checkout.probe(kata)), seed)
    return [number for number, evidence in enumerate(wrong.values()) if probes.same(evidence, right)]


def _differs(checkout: Checkout, kata: str, source: str, reference: str, seed: int) -> bool:
    return not probes.same(_evidence(checkout, kata, source, seed), _evidence(checkout, kata, reference, seed))


@lru_cache(maxsize=8)
def _evidence(checkout: Checkout, kata: str, source: str, seed: int) -> probes.Evidence:
    probe = probes.load_probe(checkout.probe(kata))
    with warnings.catch_warnings(action="ignore"):  # wrong answers make torch warn
        return probes.gather(probe, probes.load_module(f"trial_{kata}", source, f"<{kata}>"), seed)


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
