"""Checks that a kata's probe can grade: its cases are plain data, depend on the seed, and accept every right answer."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from dojo.core.paths import Checkout
from dojo.testing import codec, probes
from dojo.testing.codec_decode import decode_frame

SEEDS = (0, 1, 2, 3, 4, 11, 1_000_003, 2**31 + 7, 2**53 + 1, 2**63 - 25)  # the grader draws from all 63 bits


def faults(checkout: Checkout, kata: str, alternatives: Mapping[str, str], seeds: Sequence[int] = SEEDS) -> list[str]:
    """Returns what makes the probe unfit to grade, in sentences. `alternatives` are sources of right answers, by name."""
    probe = probes.load_probe(checkout.probe(kata))
    reference = probes.load_module(
        f"gradable_{kata}", checkout.reference(kata).read_text(encoding="utf-8"), f"<{kata}>"
    )
    sentences: list[str] = []
    right: dict[int, probes.Evidence] = {}
    for seed in seeds:
        right[seed] = _gather(probe, reference, seed)
        if seed == SEEDS[-1]:  # once is enough, and this is the seed with the largest numbers
            sentences += _transport_faults(probe, reference, seed)
        if list(right[seed]) != list(right[seeds[0]]):
            renamed = f"the probe's cases have other names at seed {seed}; the names must not depend on the seed"
            return [*sentences, renamed]
    sentences += _guessable_functions(probe, right, seeds)
    for name, source in alternatives.items():
        alternative = probes.load_module(f"gradable_{kata}", source, f"<{kata}>")
        for seed in seeds:
            evidence = _gather(probe, alternative, seed)
            wrong = [case for case in evidence if not probes.same(evidence[case], right[seed][case])]
            if wrong:
                sentences.append(
                    f"the probe tells {name} from the reference at seed {seed} ({wrong[0]}), so a right answer would "
                    f"lose marks; keep its cases clear of free conventions"
                )
                break
    return sentences


def _gather(probe: probes.Probe, kata: Any, seed: int) -> probes.Evidence:
    with warnings.catch_warnings(action="ignore"):
        return probes.gather(probe, kata, seed)


def _guessable_functions(probe: probes.Probe, right: dict[int, probes.Evidence], seeds: Sequence[int]) -> list[str]:
    """Returns a sentence for each function whose answers are the same at every seed: they could be written down."""
    first, last = right[seeds[0]], right[seeds[-1]]
    depends: dict[str, bool] = {}
    for case in probes.cases(probe, seeds[0]):
        differs = not probes.same(first[case.name], last[case.name])
        depends[case.of] = depends.get(case.of, False) or differs
    return [
        f"no case of {name} depends on the seed, so its answers could be guessed; draw inputs from rng"
        for name, differs in depends.items()
        if not differs
    ]


def _transport_faults(probe: probes.Probe, reference: Any, seed: int) -> list[str]:
    """Returns a sentence for each case whose inputs or evidence do not survive encoding for another process."""
    sentences = []
    for case in probes.cases(probe, seed):
        inputs = {key: value for key, value in vars(case).items() if key not in ("name", "of")}
        try:
            codec.encode_exactly(inputs)
        except (codec.NotExact, codec.TooLarge) as error:
            sentences.append(f"the inputs of the case {case.name!r} are no plain data (see Case): {error}")
        evidence = probes.observe(probe, reference, case, seed)
        if not probes.same(probes.counted(evidence), probes.counted(decode_frame(codec.encode(evidence)))):
            sentences.append(f"the evidence of the case {case.name!r} is no plain data (see Case); it cannot be sent")
    return sentences
