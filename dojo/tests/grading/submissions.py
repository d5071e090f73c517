"""A made-up class: right answers, named mistakes, stubs, files that do not parse, and a few copies."""

import random
from pathlib import Path

from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import render


def make_class(
    checkout: Checkout, folder: Path, size: int, katas: list[str], seed: int = 0, unique: bool = True
) -> None:
    """Makes `size` submissions under `folder`. With `unique`, most files get a comment that no other file has."""
    generator = random.Random(seed)
    answers = {kata: _answers(checkout, kata) for kata in katas}
    for number in range(size):
        home = folder / f"student-{number:04}" / "katas"
        home.mkdir(parents=True)
        for kata in katas:
            right, wrong, stub = answers[kata]
            kind = generator.choices(("right", "wrong", "stub", "broken", "none"), (45, 35, 10, 5, 5))[0]
            if kind == "none":
                continue
            text = {"right": generator.choice(right), "wrong": generator.choice(wrong), "stub": stub}.get(
                kind, "def f(:\n"
            )
            is_marked = kind in ("right", "wrong") and unique and generator.random() < 0.95
            (home / f"{kata}.py").write_text(text + (f"# {number}\n" if is_marked else ""))


def _answers(checkout: Checkout, kata: str) -> tuple[list[str], list[str], str]:
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    right = [reference, *(path.read_text(encoding="utf-8") for path in checkout.alternatives(kata))]
    wrong = [mistake.apply(reference) for mistake in load_mistakes(checkout.mistakes(kata)).named]
    return right, wrong, render(reference, kata)


if __name__ == "__main__":  # python -m dojo.tests.grading.submissions FOLDER SIZE KATA ...
    import sys

    from dojo.core.paths import find_checkout

    make_class(find_checkout(), Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
