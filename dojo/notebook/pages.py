"""What the magics display: each page as HTML for a notebook, and as plain text for a console."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dojo.core.catalog import Catalog, FollowUp, Kata
from dojo.core.language import say
from dojo.core.outcome import comparing
from dojo.core.paths import Checkout
from dojo.core.stubs import signatures, stub
from dojo.practice import html
from dojo.practice.headless import facts
from dojo.practice.live_run import LiveRun
from dojo.practice.reading import by_track, paragraphs
from dojo.progress.runs import Progress
from dojo.progress.standing import MARKS, describe_progress


def render(template: str, **values: object) -> str:
    """The HTML of a template of this folder."""
    return html.render(f"notebook/{template}", **values)


@dataclass
class VerdictPage:
    """The verdict on a kata, or the run in progress."""

    checkout: Checkout
    live_run: LiveRun

    def _repr_html_(self) -> str:
        known = facts(self.checkout, self.live_run)
        return render("verdict", **known, running=self.live_run.waiting, lines=self._lines(known))

    def __repr__(self) -> str:
        known = facts(self.checkout, self.live_run)
        squares = "".join("■" if s["tests"] and s["passed"] == s["tests"] else "□" for s in known["stages"])
        counted = say("  {passed} of {total} tests pass", passed=known["passed"], total=known["tests"])
        count = counted if known["tests"] else ""
        return "\n".join([f"{known['title']}  {squares}{count}", *(text for _, text in self._lines(known))])

    def _lines(self, known: dict[str, Any]) -> list[tuple[str, str]]:
        """What stands below the stages, each with its kind."""
        lines = []
        if known["died"]:
            lines = [("bad", known["died"]), ("", say("Nothing else was harmed. Mend it and run the cell again."))]
        elif known["failing_test"]:
            more = say("   and {number} more", number=known["failures"] - 1) if known["failures"] > 1 else ""
            lines = [("bad", f"✗ {known['failing_test']}{more}"), ("", known["failure"])]
            lines += [("named", sentence) for sentence in known["named"]]
            if self.live_run.comparing:
                lines.append(("quiet", comparing(self.live_run.comparing)))
        elif self.live_run.waiting:
            lines = [("quiet", say("Running the tests ... (torch takes some seconds the first time)"))]
        elif known["solved"]:
            compare = say(
                "Compare with the reference, and what an interviewer asks next: %kata solution {kata}",
                kata=known["kata"],
            )
            lines = [("good", say("Solved: every test passes.")), ("", compare)]
        else:
            lines = [("", sentence) for sentence in known["to_write"] or [say("No test ran.")]]
        if known["printed"].strip():
            head = say("Printed {when}:", when=known["printed_when"])
            lines += [("quiet", head), ("printed", known["printed"].rstrip())]
        return [*lines, *(("quiet", notice) for notice in known["notices"])]


@dataclass
class Sentences:
    """Some sentences; `kind` is "note", "hint" or "error"."""

    sentences: Sequence[str]
    kind: str = "note"
    title: str = ""

    def _repr_html_(self) -> str:
        return render("sentences", sentences=self.sentences, kind=self.kind, title=self.title)

    def __repr__(self) -> str:
        return "\n".join([*([self.title] if self.title else []), *self.sentences])


@dataclass
class CodePage:
    """Text in a fixed width, and questions with their answers."""

    title: str
    text: str
    follow_ups: Sequence[FollowUp] = field(default_factory=tuple)

    def _repr_html_(self) -> str:
        return render("code", title=self.title, text=self.text, follow_ups=self.follow_ups)

    def __repr__(self) -> str:
        questions = [f"\n{item.question}\n{item.answer}" for item in self.follow_ups]
        return "\n".join([self.title, "", self.text, *questions])


@dataclass
class KataPage:
    """The question, the rules and the stages of a kata; `docstring` is that of its stub."""

    checkout: Checkout
    kata: Kata
    docstring: str
    progress: Progress

    def _repr_html_(self) -> str:
        return render("kata", **self._values())

    def __repr__(self) -> str:
        values = self._values()
        title = say("{title}  ({standing})", title=self.kata.title, standing=values["standing"])
        parts = [title, *(text for _, text in values["paragraphs"])]
        parts += [say("Write"), *(f"  {signature}" for signature in values["signatures"])]
        parts += [f"  {number}. {stage}" for number, stage in enumerate(self.kata.stages, 1)]
        return "\n\n".join(parts)

    def _values(self) -> dict[str, Any]:
        return {
            "kata": self.kata,
            "file": self.checkout.shown(self.checkout.answer(self.kata.name)),
            "standing": describe_progress(self.kata, self.progress),
            "done": self.progress.stages,
            "paragraphs": paragraphs(self.kata, self.docstring),
            "signatures": signatures(stub(self.checkout, self.kata.name)),
        }


@dataclass
class ListPage:
    """All katas by track."""

    catalog: Catalog
    standing: Mapping[str, Progress]

    def _repr_html_(self) -> str:
        return render("list", tracks=self._tracks(), solved=self._solved(), katas=len(self.catalog.katas))

    def __repr__(self) -> str:
        lines = [say("{solved} of {total} katas solved", solved=self._solved(), total=len(self.catalog.katas))]
        lines += [
            f"{track}: {'  '.join(f'{mark} {k.name}' for mark, k in row)}" for track, row in self._tracks().items()
        ]
        return "\n".join(lines)

    def _solved(self) -> int:
        return sum(progress.state == "solved" for progress in self.standing.values())

    def _tracks(self) -> dict[str, list[tuple[str, Kata]]]:
        return {
            track: [(MARKS[self.standing[kata.name].state][0], kata) for kata in katas]
            for track, katas in by_track(self.catalog).items()
        }
