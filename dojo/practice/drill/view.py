"""How a drill looks before its last page: its lines, from the state of the session."""

from collections.abc import Mapping

from rich.padding import Padding
from rich.text import Text

from dojo.core.catalog import FollowUp, Kata
from dojo.core.language import say, to_say
from dojo.practice import screen
from dojo.practice.drill.clock import clock_text
from dojo.practice.live_run import LiveRun
from dojo.practice.screen import paragraph, rule, title_line
from dojo.practice.terminal import Terminal
from dojo.progress.session_state import Phase
from dojo.progress.sessions import Session

KEYS: Mapping[Phase, dict[str, str]] = {
    "work": {
        "h": to_say("hint (-{points})"),
        "x": to_say("explain (-{points})"),
        "p": to_say("pause"),
        "t": to_say("tests"),
        "e": to_say("edit"),
        "f": to_say("finish"),
        "q": to_say("leave"),
    },
    "paused": {"p": to_say("go on"), "q": to_say("leave")},
    "grading": {},
    "asking": {"Enter": to_say("the model answer"), "q": to_say("leave")},
    "answered": {
        "0": to_say("missed it"),
        "1": to_say("a part"),
        "2": to_say("most of it"),
        "3": to_say("had it"),
        "q": to_say("leave"),
    },
    "done": {"q": to_say("close")},
}


def keys(phase: Phase, hint_points: int, in_round: bool) -> dict[str, str]:
    """What each key does in this phase."""
    if phase == "done" and in_round:
        return {"Enter": say("go on with the round"), "q": say("leave")}
    return {key: say(action, points=hint_points) for key, action in KEYS[phase].items()}


def header(terminal: Terminal, session: Session, kata: Kata, shown_file: str, part: str) -> list[str]:
    """Title and time left; the file to write in while there is still time."""
    phase, left = session.state.phase, session.seconds_left
    style = "bold red" if left < 60 else "bold yellow" if left < 0.2 * session.minutes * 60 else "bold"
    clock = say("{time} left ", time=clock_text(left))
    right = Text(say("paused ") if phase == "paused" else "").append(clock, style)
    if phase not in ("work", "paused"):
        done = say("done in {time} ", time=clock_text(session.elapsed))
        right = Text(done if left else say("time is up "), "dim")
    title = title_line(terminal, Text(f" {part}{kata.title}", "bold"), right)
    file = Text.assemble((say(" write in "), "dim"), (shown_file, f"link {session.file.as_uri()} underline"))
    return [*title, *(terminal.lines(file) if phase == "work" else []), rule(terminal)]


def question(terminal: Terminal, kata: Kata, stage: int, live_run: LiveRun) -> list[str]:
    """The interviewer's question: the kata's own first, then one stage after another."""
    line = Text(" ")
    for number in range(1, len(kata.stages) + 1):
        line.append("■" if number < stage else "□", "green" if number < stage else "dim")
    line.append(say("  stage {stage}", stage=stage), "bold")
    if verdict := live_run.verdict:
        total = len(verdict.counted)
        line.append(say("   {passed} of {total} tests so far pass", passed=verdict.passed, total=total))
    if live_run.waiting:
        line.append(say("   running"), "yellow")
    asked = [paragraph(kata.question, "bold")] if stage == 1 else [paragraph(say("Good. And now:"), "green")]
    return terminal.lines(*asked, paragraph(kata.stages[stage - 1], "cyan"), line)


def body(
    terminal: Terminal, session: Session, shown_file: str, live_run: LiveRun, follow_ups: tuple[FollowUp, ...]
) -> list[str]:
    """The middle of the screen in every phase but the last."""
    phase = session.state.phase
    if phase == "work":
        return verdict(terminal, session, shown_file, live_run)
    if phase == "paused":
        return terminal.lines("", paragraph(say("The clock stands. The pause is recorded. p goes on.")))
    if phase == "grading":
        return terminal.lines("", paragraph(say("That was it. Your attempt is frozen and being graded ...")))
    return follow_up(terminal, session, follow_ups)


def verdict(terminal: Terminal, session: Session, shown_file: str, live_run: LiveRun) -> list[str]:
    """What `kata watch` shows, except for an unwritten stub: the question stands above already."""
    missing = not session.file.is_file()
    if missing or live_run.failure or live_run.died or not live_run.unwritten:
        return screen.verdict(terminal, shown_file, live_run, missing)
    sentences = [paragraph(sentence) for sentence in live_run.unwritten]
    advice = paragraph(say("Save the file and the tests run. e opens your editor."), "dim")
    return terminal.lines("", *sentences, "", advice)


def follow_up(terminal: Terminal, session: Session, follow_ups: tuple[FollowUp, ...]) -> list[str]:
    """The next follow-up question, and its model answer in phase "answered"."""
    number = len(session.state.ratings)
    asked = follow_ups[number]
    head = say(
        "{points:g} points. Follow-up question {number} of {total}",
        points=session.points,
        number=number + 1,
        total=len(follow_ups),
    )
    parts: list[Padding | str] = ["", paragraph(head), "", paragraph(asked.question, "bold"), ""]
    if session.state.phase == "asking":
        aloud = say("Answer aloud, as you would in the room. Then press Enter.")
        return terminal.lines(*parts, paragraph(aloud, "dim"))
    rate = paragraph(say("How was yours?  0 missed it   1 a part   2 most of it   3 had it"), "yellow")
    return terminal.lines(*parts, paragraph(asked.answer), "", rate)


def leaving_sentences(session: Session) -> list[str]:
    """What to print when a drill or hunt is left before its end."""
    if session.id:
        return [say("Left; the clock stands. Go on with: kata drill --resume")]
    return [say("Left. This could not be recorded, so it cannot be resumed; your file stays where it is.")]
