"""What is known of a kata's named mistakes: the evidence of the reference, and of each mistake where it differs.

The cases in which a mistake differs from the reference are listed in a file of the repository (dojo.engine.differences): what
code gets right excludes most mistakes at once. Of the others a case runs when its evidence is asked for. So nothing has to
be kept between two runs.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine import differences
from dojo.engine.evidence import gather_variants
from dojo.testing import probes
from dojo.testing.probes import Case, Evidence, Probe

CaseEvidence = dict[str, Any]
SEED = 0  # of the cases, whatever the seed of the run: the differences are those of this seed


class KnownEvidence(NamedTuple):
    """The evidence of the reference and of each named mistake, and the cases in which the two differ."""

    reference: Evidence
    mistakes: Mapping[Mistake, Mapping[str, CaseEvidence]]
    shown: Mapping[Mistake, frozenset[str]]


def compared(reference: Evidence, mistakes: Mapping[Mistake, Evidence]) -> KnownEvidence:
    """The evidence of each mistake, compared with the reference's."""
    shown = {
        mistake: frozenset(
            name
            for name, right in reference.items()
            if theirs[name] is not right and not probes.same(theirs[name], right)  # most cases of a mistake are shared
        )
        for mistake, theirs in mistakes.items()
    }
    return KnownEvidence(reference, mistakes, shown)


def complete_evidence(checkout: Checkout, kata: str, probe: Probe, mistakes: Sequence[Mistake]) -> KnownEvidence:
    """The evidence of these mistakes in every case, gathered now."""
    source = checkout.reference(kata).read_text(encoding="utf-8")
    reference, *wrong = gather_variants(probe, kata, source, [mistake.apply(source) for mistake in mistakes], SEED)
    return compared(reference, dict(zip(mistakes, wrong, strict=True)))


def known_evidence(checkout: Checkout, kata: str, probe: Probe) -> KnownEvidence:
    """What a diagnosis needs: the reference's evidence, and that of each named mistake when it is asked for.

    A mistake without an entry in the file of differences, which is then older than the mistake, is gathered at once.
    """
    named = load_mistakes(checkout.mistakes(kata)).named
    source = checkout.reference(kata).read_text(encoding="utf-8")
    listed = differences.read(checkout, kata, [case.name for case in probes.cases(probe, SEED)], named)
    known = complete_evidence(checkout, kata, probe, [mistake for mistake in named if mistake not in listed])
    mistakes = {m: known.mistakes[m] if m in known.mistakes else _OnDemand(probe, kata, m.apply(source)) for m in named}
    return KnownEvidence(known.reference, mistakes, {m: {**known.shown, **listed}[m] for m in named})


class _OnDemand(Mapping[str, CaseEvidence]):
    """The evidence of one wrong source. A case runs when it is asked for."""

    def __init__(self, probe: Probe, kata: str, source: str) -> None:
        self.probe, self.kata, self.source = probe, kata, source
        self.gathered: Evidence = {}

    @cached_property
    def module(self) -> ModuleType:
        return probes.load_module(f"reference_{self.kata}", self.source, f"<{self.kata}>")

    @cached_property
    def cases(self) -> dict[str, Case]:
        return {case.name: case for case in probes.cases(self.probe, SEED)}

    def __getitem__(self, name: str) -> CaseEvidence:
        if name not in self.gathered:
            self.gathered[name] = probes.gather_case(self.probe, self.module, self.cases[name], SEED)
        return self.gathered[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)
