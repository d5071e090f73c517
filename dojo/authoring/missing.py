"""What a kata still lacks, in the order of work. Reads its files and runs nothing; the rest is `kata dev verify`'s."""

import tomllib

from dojo.authoring import scaffold
from dojo.core.errors import UserError
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import render

MIN_MISTAKES = 12
MIN_ALTERNATIVES = 5
STAGE_FILES = {
    1: "test_1_core.py (one example)",
    2: "test_2_edges.py (edges, batches)",
    3: "test_3_numerics.py (dtypes, gradients)",
    4: "test_4_cost.py (operators, FLOPs, bytes)",
}


def missing(checkout: Checkout, kata: str) -> list[str]:
    """A line for each step that is still to do, the first one first; the last is always the proof."""
    folder = checkout.shown(checkout.tests(kata))
    description = tomllib.loads(checkout.description(kata).read_text(encoding="utf-8"))
    first_texts = scaffold.first_files(checkout, kata, description.get("track", ""))
    untouched = {
        path for path, text in first_texts.items() if path.is_file() and path.read_text(encoding="utf-8") == text
    }
    reference = checkout.reference(kata)
    steps = []
    if reference in untouched:
        steps.append(f"{checkout.shown(reference)}: the question, the formulas, every convention, and the best answer")
    if _is_stale(checkout, kata) or reference in untouched:
        steps.append(f"{checkout.shown(checkout.stub(kata))}: kata dev render {kata}")
    if checkout.description(kata) in untouched:
        steps.append(f"{folder}/kata.toml: the question, three hints, follow-ups with answers, track, level, minutes")
    if (first := checkout.tests(kata) / "test_1_core.py") in untouched:
        steps.append(f"{checkout.shown(first)}: the tests of the first stage")
    stages = {int(file.name.split("_")[1]) for file in checkout.test_files(kata)}
    asked = range(1, len(description.get("stages", ())) + 1)
    steps += [f"{folder}/{STAGE_FILES[stage]}" for stage in asked if stage not in stages and stage in STAGE_FILES]
    if checkout.probe(kata) in untouched:
        steps.append(f"{folder}/probe.py: cases that show every function, drawn from the seed")
    mistakes = len(load_mistakes(checkout.mistakes(kata)).named)
    if mistakes < MIN_MISTAKES or checkout.mistakes(kata) in untouched:
        steps.append(f"{folder}/mistakes.toml: {mistakes} of {MIN_MISTAKES} named mistakes are there")
    alternatives = len(checkout.alternatives(kata))
    if alternatives < MIN_ALTERNATIVES:
        steps.append(f"{folder}/alternatives/: {alternatives} of {MIN_ALTERNATIVES} other right answers are there")
    return [*steps, f"the proof: kata dev verify {kata}"]


def _is_stale(checkout: Checkout, kata: str) -> bool:
    try:
        stub = render(checkout.reference(kata).read_text(encoding="utf-8"), kata)
    except UserError:  # the reference is not finished
        return True
    return not checkout.stub(kata).is_file() or checkout.stub(kata).read_bytes() != stub.encode()
