"""The answer key of one kata under one seed: the cases, the reference's evidence, and which cases could be guessed."""

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import dojo
from dojo.core.cores import slowdown
from dojo.core.paths import Checkout
from dojo.grading.sandbox.faults import GraderFault
from dojo.grading.sandbox.sandbox import Sandbox
from dojo.grading.sandbox.session import Ended, Session, Task
from dojo.grading.scoring.seeds import Seed
from dojo.testing import probes
from dojo.testing.probes import Case, Probe

POINTS_PER_KATA = 10.0
PACKAGE = Path(dojo.__file__).parent
GRADING_ROOMS = ("core", "engine", "grading", "testing")  # all that grading may import
REFERENCE_CASE_TIMEOUT_S = 60
REFERENCE_TIMEOUT_S = 300
# Answers that need no understanding: always raise ValueError; return the first argument.
TRIVIAL_ANSWERS = (
    "def __getattr__(name):\n    def always(*args, **options):\n        raise ValueError\n    return always\n",
    "def __getattr__(name):\n    return lambda *args, **options: args[0] if args else next(iter(options.values()), None)\n",
)


@dataclass(frozen=True)
class AnswerKey:
    """Made once for a kata and a seed, and used for every submission.

    A case is `guessable` if a trivial answer passes it, or if its evidence is the same under another seed. It earns
    points only if enough other cases of the same function are right (score.py).
    """

    kata: str
    probe: str  # source text
    banned: tuple[str, ...]  # torch operators that the worker removes
    cases: tuple[Case, ...]
    noise_seeds: dict[str, int]  # of torch's global generator, by case
    evidence: dict[str, dict[str, Any]]  # of the reference, summarised
    guessable: frozenset[str]
    layers: tuple[str, ...]
    reference_seconds: float
    timeout_factor: float = 1.0

    def task(self, source: str) -> Task:
        """The task for a submission. Its time limits leave room for a right answer that is slow, on a busy machine."""
        factor = self.timeout_factor * slowdown()
        return Task(
            self.kata, source, self.probe, self.banned, self.layers,
            case_seconds=factor * (5 + 40 * self.reference_seconds), seconds=factor * (20 + 80 * self.reference_seconds),
        )  # fmt: skip


def digest_of_upstream(checkout: Checkout, katas: list[str]) -> str:
    """A SHA-256 of everything that decides a grade: torch, the trainer's code, and each kata's reference, probe, mistakes.

    The code is that of whole rooms, so that a new module cannot be forgotten.
    """
    files = {
        path.relative_to(PACKAGE).as_posix(): path
        for room in GRADING_ROOMS
        for path in sorted((PACKAGE / room).rglob("*.py"))
    }
    for kata in katas:
        files[f"reference {kata}"] = checkout.reference(kata)
        files[f"probe {kata}"] = checkout.probe(kata)
        files[f"mistakes {kata}"] = checkout.mistakes(kata)
    lines = [f"torch {torch.__version__}", *(f"{name} {_sha256(path)}" for name, path in files.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "missing"


def make_answer_key(sandbox: Sandbox, checkout: Checkout, kata: str, seed: Seed, layers: tuple[str, ...]) -> AnswerKey:
    """Runs the reference in the sandbox, as a submission would be. Raises GraderFault if it fails."""
    path = checkout.probe(kata)
    source = path.read_text(encoding="utf-8")
    module = probes.load_module(f"probe_{kata}", source, str(path))
    probe = Probe(module.cases, module.run)
    banned = tuple(getattr(module, "FORBIDDEN", ()))
    # Cases of a second seed show which evidence does not depend on the inputs.
    cases, other_cases = (tuple(probes.cases(probe, seed.number("cases", kata, turn))) for turn in ("first", "second"))
    noise_seeds = {case.name: seed.number("noise", kata, case.name) for case in cases}
    reference = checkout.reference(kata).read_text(encoding="utf-8")

    case_seconds, seconds = (limit * slowdown() for limit in (REFERENCE_CASE_TIMEOUT_S, REFERENCE_TIMEOUT_S))
    task = Task(kata, reference, source, banned, layers, case_seconds, seconds)
    with sandbox.run(task) as session:
        start = time.monotonic()
        evidence = collect_evidence(session, reference, cases, noise_seeds)
        seconds = time.monotonic() - start
        other_evidence = collect_evidence(session, reference, other_cases, noise_seeds)
        if list(evidence) != list(other_evidence):
            raise GraderFault(f"the cases of {kata} have other names under another seed; mend tests/{kata}/probe.py")
        guessable = {name for name in evidence if probes.same(evidence[name], other_evidence[name])}
        for answer in TRIVIAL_ANSWERS:
            guess = collect_evidence(session, answer, cases, noise_seeds)
            guessable |= {name for name in evidence if probes.same(evidence[name], guess[name])}
    for name, of_case in evidence.items():
        if not probes.same(of_case, of_case):
            raise GraderFault(
                f"the evidence of {kata}'s case {name!r} is not equal to itself; mend tests/{kata}/probe.py"
            )
    if set(evidence) <= guessable:
        raise GraderFault(f"all that the probe of {kata} sees could be guessed; mend tests/{kata}/probe.py")
    return AnswerKey(kata, source, banned, cases, noise_seeds, evidence, frozenset(guessable), layers, seconds)


def collect_evidence(
    session: Session, source: str, cases: tuple[Case, ...], noise_seeds: dict[str, int]
) -> dict[str, dict[str, Any]]:
    """The summarised evidence of trusted code, by case. Raises GraderFault if it does not load, or its process ends."""
    try:
        error = session.load(source)
        if error is not None:
            raise GraderFault(f"a trusted answer does not load: {error.name}: {error.note}")
        return {case.name: probes.counted(session.observe(case, noise_seeds.get(case.name, 0))) for case in cases}
    except Ended as ended:
        raise GraderFault(f"a trusted answer {ended}") from ended
