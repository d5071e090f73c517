"""Grades every right answer and every named mistake of every kata in the real sandbox, and prints a table.

    python -m dojo.tests.grading.answers [KATA ...] [--seeds N] [--peers]

A right answer (the reference, an alternative and, with --peers, an adapter over an installed library) must get full
marks, and a named mistake must lose some. The tests of a kata run in one process with what they test; here inputs and
evidence travel, and the layers of the sandbox hold.
"""

import argparse
import hashlib
import os
import sys
from dataclasses import dataclass, field, replace

from dojo.core.catalog import load_catalog
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout, find_checkout
from dojo.grading.grader import Grader
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission.intake import SubmittedFile
from dojo.testing import probes

PEERS_TIMEOUT_FACTOR = 30  # a library of the field takes longer to import than a kata to run


@dataclass
class Row:
    """What became of one kata's answers at all seeds."""

    kata: str
    graded: int = 0  # right answers
    tried: int = 0  # named mistakes
    faults: list[str] = field(default_factory=list)  # right answers that lost points, mistakes that did not


def right_answers(checkout: Checkout, kata: str, peers: bool = False) -> dict[str, str]:
    """The sources of the right answers, by their file."""
    files = [checkout.reference(kata), *checkout.alternatives(kata), *(checkout.peers(kata) if peers else ())]
    return {checkout.shown(file): file.read_text(encoding="utf-8") for file in files}


def grade_right_answers(grader: Grader, row: Row, sources: dict[str, str], timeout_factor: float = 1.0) -> None:
    """Adds to `row` the answers that do not get full marks, and why."""
    for name, source in sources.items():
        file = SubmittedFile(row.kata, source.encode(), hashlib.sha256(source.encode()).hexdigest(), "ok")
        result = grader.grade_file(file, timeout_factor=timeout_factor)
        row.graded += 1
        if result.status != "pass":
            row.faults.append(f"{name}: {result.points:g} of {result.max_points:g} points. {result.reason}")


def grade_mistakes(grader: Grader, row: Row, names: list[str] | None = None) -> None:
    """Adds to `row` the mistakes (all, or those called `names`) whose evidence is that of a right answer.

    They run one after the other in one process, as when the grader looks for the mistake that a submission makes.
    """
    key = grader.answer_key(row.kata)
    named = load_mistakes(grader.checkout.mistakes(row.kata)).named
    wanted = [mistake for mistake in named if names is None or mistake.name in names]
    evidence = grader._evidence_of_mistakes(key, wanted)
    row.tried += len(wanted)
    for mistake in wanted:
        if mistake in evidence and all(
            probes.same(key.evidence[case], evidence[mistake][case]) for case in key.evidence
        ):
            row.faults.append(f"the mistake {mistake.name!r} loses nothing")


def main() -> int:
    """Prints one line for each kata; returns 1 if anything is not as it must be."""
    import torch

    torch.set_num_threads(1)
    checkout = find_checkout()
    every = [kata.name for kata in load_catalog(checkout).katas]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("katas", nargs="*", choices=[*every, []], metavar="KATA")
    parser.add_argument("--seeds", type=int, default=3, help="how often, each time with other inputs")
    parser.add_argument("--peers", action="store_true", help="only the adapters over libraries")
    options = parser.parse_args()
    katas = options.katas or every
    rows = {kata: Row(kata) for kata in katas}
    for number in range(options.seeds):
        with Grader(checkout, katas, Seed(f"answers {number}".encode()), name_mistakes=False) as grader:
            print(f"seed {number}, level {grader.selftest.level}", file=sys.stderr, flush=True)
            for kata, row in rows.items():
                sources = right_answers(checkout, kata, options.peers)
                if options.peers:
                    sources = {name: source for name, source in sources.items() if "/peers/" in name}
                    if sources:  # a library may use what a learner may not
                        grader._answer_keys[kata] = replace(grader.answer_key(kata), banned=())
                grade_right_answers(grader, row, sources, PEERS_TIMEOUT_FACTOR if options.peers else 1.0)
                if not options.peers:
                    grade_mistakes(grader, row)
    width = max(map(len, katas))
    for row in rows.values():
        print(f"{row.kata:{width}}  {row.graded:4} right  {row.tried:4} mistakes  {len(row.faults):3} faults")
        for fault in dict.fromkeys(row.faults):
            print(f"    {row.faults.count(fault)} x {fault}")
    return int(any(row.faults for row in rows.values()))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
