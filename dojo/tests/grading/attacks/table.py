"""Which layer stops which attack: the suite with each layer switched off in turn, as a table in Markdown.

    python -m dojo.tests.grading.attacks.table [SECTION ...]

It takes some minutes for each layer. No attack harms the machine when a layer is off (see suite.py).
"""

import argparse
import os
import tempfile
from collections import Counter
from pathlib import Path

from dojo.grading.grader import Grader
from dojo.grading.sandbox.cleanup import remove_tree
from dojo.grading.sandbox.isolation import LAYERS
from dojo.grading.scoring.seeds import Seed
from dojo.tests.grading.attacks import suite
from dojo.tests.grading.attacks.suite import Attack, Outcome

TURNS = {"all on": (), **{f"{name} off": (name,) for name in LAYERS if name != "policy"}, "all off": LAYERS}


def main() -> None:
    """Prints the table, and for each attack what it gains with which layer off."""
    import torch

    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*suite.SECTIONS, []])
    parser.add_argument("--only", nargs="*", choices=TURNS, default=[*TURNS])
    arguments = parser.parse_args()
    user = "root" if os.geteuid() == 0 else "user"
    attacks = [
        attack for attack in suite.load_attacks()
        if attack.section in (arguments.sections or suite.SECTIONS) and attack.needs in ("", user)
    ]  # fmt: skip
    outcomes: dict[str, list[Outcome]] = {}
    levels = {}
    for turn in arguments.only:
        levels[turn], outcomes[turn] = run(attacks, TURNS[turn])
        print(f"{turn}: level {levels[turn]}, {sum(bool(o.gained) for o in outcomes[turn])} gain something", flush=True)
    report(attacks, outcomes, levels, user)


def run(attacks: list[Attack], without: tuple[str, ...]) -> tuple[str, list[Outcome]]:
    """The level that the machine reaches without these layers, and the outcomes."""
    folder = Path(tempfile.mkdtemp())
    try:
        with Grader(
            suite.checkout(), suite.KATAS, Seed(b"table"), jobs=1, without=without, name_mistakes=False
        ) as grader:
            return grader.selftest.level, list(suite.run_attacks(grader, attacks, folder))
    finally:
        remove_tree(folder, seconds=60)


def report(attacks: list[Attack], outcomes: dict[str, list[Outcome]], levels: dict[str, str], user: str) -> None:
    refused = sum(bool(attack.policy) for attack in attacks)
    print(f"\nAs {user}: {len(attacks)} attacks; the policy alone would refuse {refused}.\n")
    print("| section | attacks | " + " | ".join(f"{turn}: {levels[turn]}" for turn in outcomes) + " |")
    print("| --- |" + " ---: |" * (len(outcomes) + 1))
    for section, title in suite.SECTIONS.items():
        places = [i for i, attack in enumerate(attacks) if attack.section == section]
        if places:
            gains = [str(sum(bool(turn[i].gained) for i in places)) for turn in outcomes.values()]
            print(f"| {title} | {len(places)} | " + " | ".join(gains) + " |")
    print("\n| attack | the policy | what it gains |\n| --- | --- | --- |")
    for number, attack in enumerate(attacks):
        gains = Counter({turn: o[number].gained for turn, o in outcomes.items() if o[number].gained})
        if gains:
            text = "; ".join(f"{turn}: {gain}" for turn, gain in gains.items())
            print(f"| {attack.id} | {'refuses' if attack.policy else 'lets it through'} | {text} |")
    harmless = [attack.id for i, attack in enumerate(attacks) if not any(o[i].gained for o in outcomes.values())]
    print(f"\n{len(harmless)} of them gain nothing in any of these turns: the comparison of evidence stops them.")


if __name__ == "__main__":
    main()
