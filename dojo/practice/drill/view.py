"""How a drill looks before its last page: its lines, from the state of the session."""

from collections.abc import Mapping

from rich.padding import Padding
from rich.text import Text

from dojo.core.catalog import FollowUp, Kata
from dojo.practice import screen
from dojo.practice.drill.clock import clock_text
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import paragraph, rule, title_line
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import Phase
from dojo.progress.sessions import Session

KEYS: Mapping[Phase, dict[str, str]] = {
    "work": {"h": "hint", "x": "explain", "p": "pause", "t": "tests", "e": "edit", "f": "finish", "q": "leave"},
    "paused": {"p": "go on", "q": "leave"},
    "grading": {},
    "asking": {"Enter": "the model answer", "q": "leave"},
    "answered": {"0": "missed it", "1": "a part", "2": "most of it", "3": "had it", "q": "leave"},
    "done": {"q": "close"},
}


def keys(phase: Phase, hint_points: int, in_round: bool) -> dict[str, str]:
    """What each key does in this phase."""
    if phase == "work":
        return {**KEYS["work"], "h": f"hint (-{hint_points})", "x": f"explain (-{hint_points})"}
    if phase == "done" and in_round:
        return {"Enter": "go on with the round", "q": "leave"}
    return KEYS[phase]


def header(terminal: Terminal, session: Session, kata: Kata, shown_file: str, part: str) -> list[str]:
    """Title and time left; the file to write in while there is still time."""
    phase, left = session.state.phase, session.seconds_left
    style = "bold red" if left < 60 else "bold yellow" if left < 0.2 * session.minutes * 60 else "bold"
    right = Text("paused " if phase == "paused" else "").append(f"{clock_text(left)} left ", style)
    if phase not in ("work", "paused"):
        right = Text("time is up " if not left else f"done in {clock_text(session.elapsed)} ", "dim")
    title = title_line(terminal, Text(f" {part}{kata.title}", "bold"), right)
    file = Text.assemble((" write in ", "dim"), (shown_file, f"link {session.file.as_uri()} underline"))
    return [*title, *(terminal.lines(file) if phase == "work" else []), rule(terminal)]


def question(terminal: Terminal, kata: Kata, stage: int, live_run: LiveRun) -> list[str]:
    """The interviewer's question: the kata's own first, then one stage after another."""
    line = Text(" ")
    for number in range(1, len(kata.stages) + 1):
        line.append("■" if number < stage else "□", "green" if number < stage else "dim")
    line.append(f"  stage {stage}", "bold")
    if live_run.verdict:
        line.append(f"   {live_run.verdict.passed} of {len(live_run.verdict.counted)} tests so far pass")
    if live_run.waiting:
        line.append("   running", "yellow")
    asked = [paragraph(kata.question, "bold")] if stage == 1 else [paragraph("Good. And now:", "green")]
    return terminal.lines(*asked, paragraph(kata.stages[stage - 1], "cyan"), line)


def body(
    terminal: Terminal, session: Session, shown_file: str, live_run: LiveRun, follow_ups: tuple[FollowUp, ...]
) -> list[str]:
    """The middle of the screen in every phase but the last."""
    phase = session.state.phase
    if phase == "work":
        return verdict(terminal, session, shown_file, live_run)
    if phase == "paused":
        return terminal.lines("", paragraph("The clock stands. The pause is recorded. p goes on."))
    if phase == "grading":
        return terminal.lines("", paragraph("That was it. Your attempt is frozen and being graded ..."))
    return follow_up(terminal, session, follow_ups)


def verdict(terminal: Terminal, session: Session, shown_file: str, live_run: LiveRun) -> list[str]:
    """What `kata watch` shows, except for an unwritten stub: the question stands above already."""
    missing = not session.file.is_file()
    if missing or live_run.failure or live_run.died or not live_run.unwritten:
        return screen.verdict(terminal, shown_file, live_run, missing)
    sentences = [paragraph(sentence) for sentence in live_run.unwritten]
    advice = paragraph("Save the file and the tests run. e opens your editor.", "dim")
    return terminal.lines("", *sentences, "", advice)


def follow_up(terminal: Terminal, session: Session, follow_ups: tuple[FollowUp, ...]) -> list[str]:
    """The next follow-up question, and its model answer in phase "answered"."""
    number = len(session.state.ratings)
    asked = follow_ups[number]
    head = f"{session.points:g} points. Follow-up question {number + 1} of {len(follow_ups)}"
    parts: list[Padding | str] = ["", paragraph(head), "", paragraph(asked.question, "bold"), ""]
    if session.state.phase == "asking":
        return terminal.lines(*parts, paragraph("Answer aloud, as you would in the room. Then press Enter.", "dim"))
    rate = paragraph("How was yours?  0 missed it   1 a part   2 most of it   3 had it", "yellow")
    return terminal.lines(*parts, paragraph(asked.answer), "", rate)


def leaving_sentences(session: Session) -> list[str]:
    """What to print when a drill or hunt is left before its end."""
    if session.id:
        return ["Left; the clock stands. Go on with: kata drill --resume"]
    return ["Left. This could not be recorded, so it cannot be resumed; your file stays where it is."]
