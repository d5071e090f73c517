"""Writes the figures of README.md and docs/ from the reports of a whole proof and from the catalogue, and what katas' runs need.

Each page has them between two markers, `<!-- NAME: written by kata dev verify --write -->` and `<!-- NAME: end -->`.
"""

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from dojo.authoring.translated_pages import translation_of
from dojo.authoring.verify.report import ProofReport
from dojo.core import files
from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import ENGLISH, LANGUAGES, Texts, to_say, translated
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.engine import differences
from dojo.engine.known import complete_evidence
from dojo.testing.probes import load_probe

BEGIN, END = "<!-- {}: written by kata dev verify --write -->", "<!-- {}: end -->"


def write(checkout: Checkout, catalog: Catalog, reports: Sequence[ProofReport]) -> list[Path]:
    """Writes the figures, and returns the files that have changed. Raises UserError if a page lacks its markers.

    What stands on the pages needs the reports of all katas: with fewer, and in a pack of one's own, which has no such
    pages, only what the runs of these katas need is written.
    """
    katas = list(catalog.katas)
    needed = filter(None, (write_differences(checkout, report.kata) for report in reports))
    if len(reports) < len(katas) or not (checkout.root / "docs" / "proof.md").is_file():
        return list(needed)
    peers = sum(len(checkout.peers(kata.name)) for kata in katas)
    texts: dict[str, dict[str, str]] = {
        "README.md": {"figures": readme_figures(reports, peers), "tracks": tracks(katas)},
        "docs/proof.md": {"proof": proof_table(reports), "sums": sums(reports)},
        **lists(checkout, katas),
    }
    changed = {}
    for page, parts in texts.items():
        path = checkout.root / page
        before = text = path.read_text(encoding="utf-8")
        for name, part in parts.items():
            text = replaced(text, name, part, page)
        if text != before:
            changed[path] = text
    for path, text in changed.items():
        files.write(path, text)
    return [*changed, *needed]


def write_differences(checkout: Checkout, kata: str) -> Path | None:
    """Writes where each named mistake differs from the reference, if what stands there is out of date."""
    if differences.is_current(checkout, kata):
        return None
    mistakes = load_mistakes(checkout.mistakes(kata)).named
    with warnings.catch_warnings(action="ignore"):  # wrong answers make torch warn
        known = complete_evidence(checkout, kata, load_probe(checkout.probe(kata)), mistakes)
    return differences.write(checkout, kata, list(known.reference), known.shown)


def replaced(text: str, name: str, part: str, page: str) -> str:
    """`text` with `part` between the markers of that name."""
    begin, end = BEGIN.format(name), END.format(name)
    pattern = re.compile(re.escape(begin) + "\n.*?" + re.escape(end), re.DOTALL)
    if len(pattern.findall(text)) != 1:
        raise UserError(f"{page} needs these two lines, once and in this order, for the figures:\n{begin}\n{end}")
    return pattern.sub(lambda _: f"{begin}\n{part.strip()}\n{end}", text)


def readme_figures(reports: Sequence[ProofReport], peers: int) -> str:
    """The three points of the README."""
    mistakes, named = sum(r.mistakes for r in reports), sum(r.named for r in reports)
    killed, mutants = sum(r.killed for r in reports), sum(r.mutants for r in reports)
    unnamed = mistakes - named
    named_words = {0: "which mistake it was", 1: "which mistake it was for all but one of them"}.get(
        unnamed, f"which mistake it was for all but {unnamed} of them"
    )
    return f"""\
- **{in_groups(mistakes)} mistakes** that people really make, in {len(reports)} katas. Each is caught by the very test that claims to catch it, and a
  run tells the learner {named_words}.
- **{in_groups(killed)} of {in_groups(mutants)} mutants** (automatic changes of the reference) are killed by a test. Each of the {mutants - killed} survivors is
  explained in a line.
- **{in_groups(sum(r.alternatives for r in reports))} other right answers** (another algorithm, style or convention) pass. So do {peers} adapters over torch, transformers,
  tokenizers, diffusers, peft, loralib, TorchRL, torchao, tenacity, SciPy and scikit-learn."""


def tracks(katas: Sequence[Kata]) -> str:
    """The README's table of tracks."""
    lines = ["| track | katas, in the order in which one can learn them |", "| --- | --- |"]
    for track in dict.fromkeys(kata.track for kata in katas):
        lines.append(f"| {track} | {', '.join(kata.name for kata in katas if kata.track == track)} |")
    return "\n".join(lines)


def lists(checkout: Checkout, katas: Sequence[Kata]) -> dict[str, dict[str, str]]:
    """The list of katas, and its translations, as the page and the table of each track."""
    tracks = dict.fromkeys(kata.track for kata in katas)
    pages = {"docs/katas.md": ENGLISH} | {
        translation_of("docs/katas.md", code): code for code in LANGUAGES if code != ENGLISH
    }
    return {
        page: {name: rows(checkout, [k for k in katas if k.track == name], code) for name in tracks}
        for page, code in pages.items()
        if (checkout.root / page).is_file()
    }


def rows(checkout: Checkout, katas: Iterable[Kata], code: str = ENGLISH) -> str:
    """One track's table in the list of katas."""
    lines = [translated(to_say("| kata | what it asks | level | minutes |"), code), "| --- | --- | --- | ---: |"]
    for kata in katas:
        question = Texts(checkout.description(kata.name), code)(kata.question)
        lines.append(f"| `{kata.name}` | {question} | {translated(kata.level, code)} | {kata.minutes} |")
    return "\n".join(lines)


def proof_table(reports: Sequence[ProofReport]) -> str:
    """The proof in figures, one line a kata, as `kata dev verify` prints it."""
    lines = [f"{'kata':<23}{'tests':>7}{'time':>7}{'mistakes':>10}{'named':>9}{'mutants':>9}{'rate':>8}{'others':>8}"]
    for r in reports:
        rate = "-" if r.kill_rate is None else f"{r.kill_rate:.1%}"
        lines.append(
            f"{r.kata:<23}{r.tests:>7}{f'{r.seconds:.1f} s':>7}{f'{r.caught}/{r.mistakes}':>10}{f'{r.named}/{r.mistakes}':>9}"
            f"{f'{r.killed}/{r.mutants}':>9}{rate:>8}{f'{r.alternatives - len(r.rejected)}/{r.alternatives}':>8}"
        )
    return "```\n" + "\n".join(lines) + "\n```"


def sums(reports: Sequence[ProofReport]) -> str:
    """The sums of the proof's table, in sentences."""
    mistakes, caught, named = (in_groups(sum(getattr(r, n) for r in reports)) for n in ("mistakes", "caught", "named"))
    killed, mutants = sum(r.killed for r in reports), sum(r.mutants for r in reports)
    others = sum(r.alternatives for r in reports)
    accepted = others - sum(len(r.rejected) for r in reports)
    return (
        f"In sum: {caught} of {mistakes} mistakes are caught and {named} are named; {in_groups(killed)} of "
        f"{in_groups(mutants)} mutants are killed,\nand the {mutants - killed} survivors are explained; "
        f"{accepted} of {others} alternatives are accepted."
    )


def in_groups(number: int) -> str:
    """1316 as the pages write it: 1 316."""
    return f"{number:,}".replace(",", " ")
