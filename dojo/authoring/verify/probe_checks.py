"""Whether a kata's probe can grade: its cases are plain data under any seed, say something, and are fair."""

from collections.abc import Mapping, Sequence
from typing import Any

from dojo.core.paths import Checkout
from dojo.testing import codec, probes

SEEDS = (0, 1, 2, 3, 4, 11, 1_000_003, 2**31 + 7, 2**53 + 1, 2**63 - 25)  # the grader draws from all 63 bits


def faults(checkout: Checkout, kata: str, others: Mapping[str, str], seeds: Sequence[int] = SEEDS) -> list[str]:
    """What stands against grading with this probe, each in a sentence. `others` are right answers, by name."""
    probe = probes.load_probe(checkout.probe(kata))
    reference = probes.load_module(
        f"gradable_{kata}", checkout.reference(kata).read_text(encoding="utf-8"), f"<{kata}>"
    )
    found: list[str] = []
    right: dict[int, probes.Evidence] = {}
    for seed in seeds:
        right[seed] = _gather(probe, reference, seed)
        found += _about_transport(probe, reference, seed) if seed == seeds[-1] else []
        if list(right[seed]) != list(right[seeds[0]]):
            return [*found, f"the probe's cases have other names at seed {seed}; the names must not depend on the seed"]
    found += _about_guessing(probe, right, seeds)
    for name, source in others.items():
        other = probes.load_module(f"gradable_{kata}", source, f"<{kata}>")
        for seed in seeds:
            seen = _gather(probe, other, seed)
            wrong = [case for case in seen if not probes.same(seen[case], right[seed][case])]
            if wrong:
                found.append(
                    f"the probe tells {name} from the reference at seed {seed} ({wrong[0]}), so a right answer would "
                    f"lose marks; keep its cases clear of free conventions"
                )
                break
    return found


def _gather(probe: probes.Probe, kata: Any, seed: int) -> probes.Evidence:
    import warnings

    with warnings.catch_warnings(action="ignore"):
        return probes.gather(probe, kata, seed)


def _about_guessing(probe: probes.Probe, right: dict[int, probes.Evidence], seeds: Sequence[int]) -> list[str]:
    """Each function needs a case whose answer nobody can have written down before."""
    first, last = right[seeds[0]], right[seeds[-1]]
    functions: dict[str, bool] = {}
    for case in probes.cases(probe, seeds[0]):
        tells = not probes.same(first[case.name], last[case.name])
        functions[case.of] = functions.get(case.of, False) or tells
    return [
        f"no case of {name} depends on the seed, so its answers could be guessed; draw inputs from rng"
        for name, tells in functions.items()
        if not tells
    ]


def _about_transport(probe: probes.Probe, reference: Any, seed: int) -> list[str]:
    """Inputs and evidence travel between processes as plain data."""

    found = []
    for case in probes.cases(probe, seed):
        inputs = {key: value for key, value in vars(case).items() if key not in ("name", "of")}
        for what, tree in (("inputs", inputs), ("evidence", probes.observe(probe, reference, case, seed))):
            frame = codec.encode(tree)
            size = codec.HEADER.size
            head = codec.HEADER.unpack(frame[:size])[1]
            back = codec.decode(frame[size : size + head], frame[size + head :], codec.Limits())
            if not probes.same(probes.counted(tree), probes.counted(back)):
                found.append(f"the {what} of the case {case.name!r} are no plain data (see Case); they cannot be sent")
    return found
