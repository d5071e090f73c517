"""The tutor's server, asked by the mcp package's own client: what it tells, what it records, and what it keeps back."""

import asyncio
import sys

import pytest

from dojo.progress import runs
from dojo.progress.attempts import read_attempts
from dojo.tests import checkouts
from dojo.tests.cli.commands import environment, kata

pytest.importorskip("mcp")
from mcp import Client, StdioServerParameters

from dojo.tutor.server import TOOLS, Tutor, make_server

SECRETS = ("return x * 2", "x + by", "squares", "multiplied by itself")  # of the reference and of the known mistakes


class Assistant:
    """Calls tools of a server in this process. An error's sentence is an AssertionError of `call`, the result of `error`."""

    def __init__(self, checkout):
        self.tutor = Tutor(checkout)
        self.server = make_server(self.tutor)

    def call(self, tool, **arguments):
        result = self._result(tool, arguments)
        assert not result.is_error, result.content[0].text
        content = result.structured_content
        return content.get("result", content) if isinstance(content, dict) else content

    def error(self, tool, **arguments):
        result = self._result(tool, arguments)
        assert result.is_error
        return result.content[0].text

    def _result(self, tool, arguments):
        async def ask():
            async with Client(self.server) as client:
                return await client.call_tool(tool, arguments)

        return asyncio.run(ask())


@pytest.fixture
def assistant(checkout):
    """An assistant that tutors in the checkout with the kata `tiny`."""
    assistant = Assistant(checkout)
    yield assistant
    assistant.tutor.close()


def test_the_client_sees_the_tools_and_how_to_tutor(assistant):
    """Every tool says what it does, and the instructions forbid giving the answer away."""

    async def look():
        async with Client(assistant.server) as client:
            return (await client.list_tools()).tools, client.instructions

    tools, instructions = asyncio.run(look())
    assert [tool.name for tool in tools] == [tool.__name__ for tool in TOOLS]
    assert all(tool.description for tool in tools)
    assert "you never write" in instructions
    properties = {tool.name: set(tool.input_schema.get("properties", {})) for tool in tools}
    assert properties["run_tests"] == {"name"}
    assert properties["list_katas"] == {"role", "track", "asked", "unsolved_only"}


def test_a_lesson_from_the_question_to_the_follow_ups(assistant, checkout):
    """Show, a wrong answer with its name, a hint, the right one; recorded as the learner's own runs are."""
    shown = assistant.call("show_kata", name="tin")
    assert shown["question"] == "How would you double?"
    assert shown["file"] == str(checkout.answer("tiny"))
    assert any("def double" in line for line in shown["write"])
    assert "NotImplementedError" in assistant.call("read_answer", name="tiny")

    checkouts.solve(checkout, "x * 2", "x * x")
    verdict = assistant.call("run_tests", name="tiny")
    assert not verdict["solved"]
    assert (verdict["passed"], verdict["tests"]) == (4, 6)
    assert verdict["failing_test"] == "test_double_is_twice_as_much[1]"
    assert "hint: add x to itself" in verdict["failure"]
    assert verdict["named"] == ["Your result is exactly what you get when x is multiplied by itself."]
    assert "x * x" in assistant.call("read_answer", name="tiny")

    assert assistant.call("next_hint", name="tiny") == {"hint": "the idea", "number": 1, "of": 3, "notices": []}
    assert assistant.call("next_hint", name="tiny")["number"] == 2
    assert runs.count_events(checkout, "tiny", "hint") == 2

    checkouts.solve(checkout)
    assert assistant.call("run_tests", name="tiny")["solved"]
    assert "return x * 2" in assistant.call("solution", name="tiny")
    assert all("answer" in item for item in assistant.call("follow_ups", name="tiny"))
    (attempt,) = read_attempts(checkout, "tiny")
    assert (attempt.state, attempt.hints, attempt.how) == ("solved", 2, "watch")
    (past,) = assistant.call("history", name="tiny")
    assert past["mistakes"] == ["x is multiplied by itself"]
    assert past["state"] == "solved"
    assert [due["name"] for due in assistant.call("due_for_repetition")] == ["tiny"]


def test_nothing_gives_the_answer_away_before_the_kata_is_solved(assistant, checkout):
    """No tool's result holds the reference or a known mistake, and the gates say what opens them."""
    told = [assistant.call("list_katas"), assistant.call("show_kata", name="tiny"), assistant.call("history")]
    told += [assistant.call("read_answer", name="tiny"), assistant.call("run_tests", name="tiny")]
    told += [assistant.call("next_hint", name="tiny"), assistant.call("follow_ups", name="tiny")]
    told += [assistant.call("due_for_repetition"), assistant.call("study_plan")]
    assert not any(secret in str(result) for result in told for secret in SECRETS)
    assert all(set(item) == {"question"} for item in assistant.call("follow_ups", name="tiny"))
    assert "opens when its tests pass" in assistant.error("solution", name="tiny")
    assert runs.count_events(checkout, "tiny", "solution") == 0


def test_errors_are_the_trainers_sentences(assistant, checkout):
    """So that the assistant can say what to do."""
    assert "There is no kata called 'tinny'. Did you mean tiny?" in assistant.error("show_kata", name="tinny")
    assert "There is no role 'chef'" in assistant.error("list_katas", role="chef")
    checkout.answer("tiny").write_bytes(b"\xff\xfe")
    assert "cannot be read" in assistant.error("read_answer", name="tiny")


def test_a_crash_ends_no_lesson(assistant, checkout):
    """The next call is answered as before."""
    checkouts.solve(checkout, "return x * 2", "import os; os._exit(3)")
    assert "ended the process (exit code 3)" in assistant.call("run_tests", name="tiny")["died"]
    checkouts.solve(checkout)
    assert assistant.call("run_tests", name="tiny")["solved"]


def test_the_plan_and_the_list_are_those_of_the_command_line(assistant, checkout):
    """Made there, read here."""
    assert assistant.call("study_plan")["plan"] is None
    kata("plan", "--days", "2", "--minutes", "30")
    plan = assistant.call("study_plan")
    assert [item["name"] for item in plan["days"][0]["katas"]] == ["tiny"]
    checkouts.record(checkout, "tiny", "passed")
    assert assistant.call("list_katas", unsolved_only=True)["katas"] == []
    assert assistant.call("list_katas")["katas"][0]["progress"].startswith("solved")


def test_the_command_serves_on_stdin_and_stdout(checkout):
    """As an assistant starts it; nothing but the protocol is on stdout, also while the tests run and print."""
    checkouts.solve(checkout, "return x * 2", 'print("loud")\n    return x * 2')
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "dojo.cli", "mcp"], cwd=str(checkout.root), env=environment()
    )

    async def ask():
        async with Client(command, read_timeout_seconds=120) as client:
            return await client.call_tool("run_tests", {"name": "tiny"})

    result = asyncio.run(ask())
    assert result.structured_content["solved"]
    assert "loud" in result.structured_content["printed"]


def test_without_the_package_the_command_says_how_to_install_it(checkout, monkeypatch):
    """It is an optional extra; an old version of it lacks what is imported, which is the same error."""
    monkeypatch.setitem(sys.modules, "dojo.tutor.server", None)
    result = kata("mcp")
    assert result.exit_code == 2
    assert "pip install -e '.[tutor]'" in result.output
