"""What is needed to judge one kata under one seed: the cases, the reference's evidence, and which cases count alone."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any

import torch

from dojo.core.paths import Checkout
from dojo.grading.sandbox.sandbox import Cell, Ended, GraderFault, Session, Task
from dojo.grading.scoring.seeds import Seed
from dojo.testing import probes
from dojo.testing.probes import Case, Probe

POINTS = 10.0  # each kata's
# Answers that take no understanding. What they get right counts only beside something that they do not.
TRIVIAL = (
    "def __getattr__(name):\n    def always(*args, **options):\n        raise ValueError\n    return always\n",
    "def __getattr__(name):\n    return lambda *args, **options: args[0] if args else next(iter(options.values()), None)\n",
)


@dataclass(frozen=True)
class Kit:
    """Made once for a kata and a seed, and used for every submission."""

    kata: str
    probe: str
    banned: tuple[str, ...]
    cases: tuple[Case, ...]
    noises: dict[str, int]
    evidence: dict[str, dict[str, Any]]  # counted, of the reference
    guessable: frozenset[str]  # cases whose evidence says little by itself
    layers: tuple[str, ...]
    seconds: float  # what the reference took
    patience: float = 1.0  # scales the limits of time

    def task(self, source: str) -> Task:
        """A submission, with time enough for an answer that is right and slow."""
        return Task(
            self.kata, source, self.probe, self.banned, self.layers,
            case_seconds=self.patience * (5 + 40 * self.seconds), seconds=self.patience * (20 + 80 * self.seconds),
        )  # fmt: skip


def upstream(checkout: Checkout, names: list[str]) -> str:
    """A digest of everything that decides: references, probes, and the code that compares."""
    files = [path for name in names for path in (checkout.reference(name), checkout.probe(name))]
    files += [
        *sorted(checkout.root.glob("dojo/grading/**/*.py")),
        *(
            checkout.root / "dojo" / name
            for name in (
                "testing/probes.py",
                "testing/codec.py",
                "testing/checks.py",
                "testing/chi_square.py",
                "testing/sampling.py",
                "testing/cost.py",
                "engine/diagnosis.py",
            )
        ),
        *map(checkout.mistakes, names),
    ]
    digest = hashlib.sha256(torch.__version__.encode())
    for path in files:
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path.is_file() else b"")
    return digest.hexdigest()


def prepare(cell: Cell, checkout: Checkout, kata: str, seed: Seed, layers: tuple[str, ...]) -> Kit:
    """Runs the reference, in the same cage as the submissions. Raises GraderFault when it does not come through."""
    path = checkout.probe(kata)
    text = path.read_text(encoding="utf-8")
    module = probes.load_module(f"probe_{kata}", text, str(path))
    probe = Probe(module.cases, module.run)
    banned = tuple(getattr(module, "FORBIDDEN", ()))
    cases, others = (tuple(probes.cases(probe, seed.number("cases", kata, turn))) for turn in ("first", "second"))
    noises = {case.name: seed.number("noise", kata, case.name) for case in cases}
    reference = checkout.reference(kata).read_text(encoding="utf-8")

    task = Task(kata, reference, text, banned, layers, 60, 300)
    with cell.run(task) as session:
        began = time.monotonic()
        evidence = watch(session, reference, cases, noises)
        seconds = time.monotonic() - began
        again = watch(session, reference, others, noises)
        if list(evidence) != list(again):
            raise GraderFault(f"the cases of {kata} have other names under another seed; mend tests/probes/{kata}.py")
        guessable = {name for name in evidence if probes.same(evidence[name], again[name])}
        for trivial in TRIVIAL:
            lazy = watch(session, trivial, cases, noises)
            guessable |= {name for name in evidence if probes.same(evidence[name], lazy[name])}
    for name, seen in evidence.items():
        if not probes.same(seen, seen):
            raise GraderFault(
                f"the evidence of {kata}'s case {name!r} is not equal to itself; mend tests/probes/{kata}.py"
            )
    if set(evidence) <= guessable:
        raise GraderFault(f"all that the probe of {kata} sees could be guessed; mend tests/probes/{kata}.py")
    return Kit(kata, text, banned, cases, noises, evidence, frozenset(guessable), layers, seconds)


def watch(session: Session, source: str, cases: tuple[Case, ...], noises: dict[str, int]) -> dict[str, Any]:
    """The counted evidence of a text that we trust. Raises GraderFault if it does not come through."""
    try:
        trouble = session.load(source)
        if trouble is not None:
            raise GraderFault(f"a trusted answer does not load: {trouble.name}: {trouble.note}")
        return {case.name: probes.counted(session.observe(case, noises.get(case.name, 0))) for case in cases}
    except Ended as ended:
        raise GraderFault(f"a trusted answer {ended}") from ended
