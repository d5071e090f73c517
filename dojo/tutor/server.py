"""The MCP server of `kata mcp` (Model Context Protocol, through the `mcp` package).

Its tools do what the learner's own commands do, and record the same. What would give an answer away keeps its gate: the
solution and the answers to follow-up questions come once the kata is solved, hints one at a time, and neither probes
nor the list of known mistakes come at all. Giving up is left to the learner's own terminal.
"""

import time
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from dojo.core import answers, humanize
from dojo.core.catalog import Catalog, Kata, load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.core.stubs import signatures, stub
from dojo.core.version import VERSION
from dojo.practice import actions
from dojo.practice.headless import Headless, facts
from dojo.progress.attempts import Attempt, read_attempts
from dojo.progress.plan import make_plan, read_goal
from dojo.progress.runs import ever_solved
from dojo.progress.schedule import due_dates
from dojo.progress.standing import describe_progress, progress_or_not_started, standing_of

INSTRUCTIONS = """\
You tutor somebody who prepares for machine-learning interviews. They write the answers (files in answers/); you never write
one for them, neither whole nor the line that is missing, unless they have solved the kata.
Begin with show_kata. Ask what they would try and why, as an interviewer does. After each change run_tests: the first
failure, its hint and the named mistake are what to talk about. Let them explain the failure before you do. Ask for
next_hint only when they want it: it is recorded, and drills charge for it. Once a kata is solved, go through the
follow-up questions with follow_ups: the learner answers first, then compare.
due_for_repetition and study_plan say what to do next.
"""
MAX_ATTEMPTS = 20


class Tutor:
    """The tools. Each is a method whose docstring the assistant reads; a UserError becomes the tool's error."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self._headless = Headless(checkout, load_catalog(checkout))
        self._one_run = Lock()  # the assistant may call tools side by side

    def close(self) -> None:
        self._headless.close()

    def list_katas(
        self, role: str = "", track: str = "", asked: str = "", unsolved_only: bool = False
    ) -> dict[str, Any]:
        """All katas in learning order, or those of a role, a track, or asked "often"/"sometimes"/"rarely", with progress."""
        whole = self._catalog()
        catalog = whole.only(role=role or None, track=track or None, asked=asked or None)
        notices: list[str] = []
        standing = standing_of(self.checkout, catalog.katas, notices.append)
        katas = [
            {
                "name": kata.name,
                "title": kata.title,
                "track": kata.track,
                "level": kata.level,
                "asked": kata.asked,
                "minutes": kata.minutes,
                "builds_on": list(kata.builds_on),
                "progress": describe_progress(kata, standing[kata.name]),
            }
            for kata in catalog.katas
            if not unsolved_only or standing[kata.name].state != "solved"
        ]
        return {"katas": katas, "roles": list(whole.roles), "notices": notices}

    def show_kata(self, name: str) -> dict[str, Any]:
        """The question, the rules, the stages, and the file to write in. Recorded: the learner's attempt may begin here."""
        kata = self._kata(name)
        notices: list[str] = []
        actions.record_reading(self.checkout, kata, notices.append)
        return {
            "name": kata.name,
            "title": kata.title,
            "question": kata.question,
            "rules": actions.rules(self.checkout, kata),
            "write": signatures(stub(self.checkout, kata.name)),
            "stages": list(kata.stages),
            "minutes": kata.minutes,
            "file": str(self.checkout.answer(kata.name)),
            "progress": describe_progress(kata, progress_or_not_started(self.checkout, kata.name)),
            "hints": len(kata.hints),
            "notices": notices,
        }

    def read_answer(self, name: str) -> str:
        """What the learner has written so far: the whole file."""
        file = self.checkout.answer(self._kata(name).name)
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self.checkout.shown(file)} cannot be read: {error}") from error

    def run_tests(self, name: str) -> dict[str, Any]:
        """The verdict on the learner's file as it is: stages, the first failure with its hint, the mistake by name. Recorded."""
        kata = self._kata(name)
        with self._one_run:
            return facts(self.checkout, self._headless.run(kata))

    def next_hint(self, name: str) -> dict[str, Any]:
        """The next hint, one rung at a time. Recorded, so ask only when the learner wants it."""
        kata = self._kata(name)
        notices: list[str] = []
        number, text = actions.next_hint(self.checkout, kata, notices.append)
        return {"hint": text, "number": number, "of": len(kata.hints), "notices": notices}

    def solution(self, name: str) -> str:
        """The reference. Only once the learner has solved the kata; giving up is for their own terminal."""
        return actions.solution(self.checkout, self._kata(name), lambda notice: None, give_up=False)

    def follow_ups(self, name: str) -> list[dict[str, str]]:
        """What an interviewer asks next. The model answers come with it once the learner has solved the kata."""
        kata = self._kata(name)
        is_open = ever_solved(self.checkout, kata.name)
        return [{"question": item.question, **({"answer": item.answer} if is_open else {})} for item in kata.follow_ups]

    def due_for_repetition(self) -> list[dict[str, str]]:
        """Solved katas and when spaced repetition asks for them again, the earliest first."""
        now = time.time()
        return [
            {
                "name": due.kata.name,
                "due": humanize.when_due(due.at, now),
                "last_time": f"{due.last.word}: {due.last.why}",
            }
            for due in due_dates(self.checkout, self._catalog())
        ]

    def study_plan(self) -> dict[str, Any]:
        """Which kata on which day, if the learner follows a plan (`kata plan` makes one)."""
        catalog, goal = self._catalog(), read_goal(self.checkout)
        if goal is None:
            return {
                "plan": None,
                "make_one": "kata plan --role ROLE --days N --minutes M",
                "roles": list(catalog.roles),
            }
        plan = make_plan(self.checkout, catalog, goal, time.time())
        days = [
            {
                "day": day.isoformat(),
                "katas": [
                    {"name": item.kata.name, "minutes": item.minutes, "again": item.again, "done": item.done}
                    for item in items
                ],
            }
            for day, items in plan.days.items()
        ]
        left_out = [kata.name for kata in plan.left_out]
        return {"role": goal.role, "minutes_a_day": goal.minutes, "days": days, "does_not_fit": left_out}

    def history(self, name: str = "") -> list[dict[str, Any]]:
        """The newest attempts, of one kata or of all: how they went, how long they took, and which mistakes were named."""
        kata = self._kata(name).name if name else None
        return [_attempt(attempt) for attempt in read_attempts(self.checkout, kata)[:MAX_ATTEMPTS]]

    def _catalog(self) -> Catalog:
        return load_catalog(self.checkout)

    def _kata(self, name: str) -> Kata:
        answers.prepare(self.checkout)
        return self._catalog().find(name)


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "kata": attempt.kata,
        "began": humanize.local(attempt.started).isoformat(timespec="minutes"),
        "how": attempt.how,
        "state": attempt.state,
        "points": attempt.points,
        "worked": humanize.minutes(attempt.seconds),
        "hints": attempt.hints,
        "mistakes": [diagnosis.says for diagnosis in attempt.diagnoses],
    }


TOOLS = (
    Tutor.list_katas,
    Tutor.show_kata,
    Tutor.read_answer,
    Tutor.run_tests,
    Tutor.next_hint,
    Tutor.solution,
    Tutor.follow_ups,
    Tutor.due_for_repetition,
    Tutor.study_plan,
    Tutor.history,
)


def make_server(tutor: Tutor) -> MCPServer:
    """The server with every tool of `tutor`."""
    server = MCPServer("katas", instructions=INSTRUCTIONS, version=VERSION)
    for tool in TOOLS:
        server.add_tool(_with_sentences(getattr(tutor, tool.__name__)), name=tool.__name__, description=tool.__doc__)
    return server


def _with_sentences(tool: Callable[..., Any]) -> Callable[..., Any]:
    """`tool`, whose UserError reaches the assistant as its sentence."""

    @wraps(tool)
    def called(*arguments: Any, **named: Any) -> Any:
        try:
            return tool(*arguments, **named)
        except UserError as error:
            raise ToolError(str(error)) from error

    return called


def serve() -> None:
    """Serves on stdin and stdout until the assistant closes them."""
    tutor = Tutor(find_checkout())
    try:
        make_server(tutor).run("stdio")
    finally:
        tutor.close()
