"""Helpers of the trainer's tests: a small checkout for each test, and pytest sessions in forked children.

The tiny kata needs no torch, so a session in a child that has everything preloaded takes a tenth of a second.
"""

import os
import shutil
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import dojo
from dojo.core.files import digest, write
from dojo.core.outcome import Outcome, Verdict
from dojo.core.paths import Checkout
from dojo.core.stubs import render
from dojo.engine.pool import TaskDied, run_forked
from dojo.engine.preload import preload
from dojo.engine.runner import SessionKeeper
from dojo.engine.target import SWITCH
from dojo.progress.runs import record_run

REPOSITORY = Path(dojo.__file__).resolve().parent.parent

SOLUTION = '''\
"""Tiny.

Two functions of whole numbers.
"""


def double(x: int) -> int:
    """Twice x. Raises ValueError if x is negative."""
    # kata: begin
    if x < 0:
        raise ValueError("x is negative")
    return x * 2
    # kata: end


def shift(x: int, by: int = 3) -> int:
    """x, moved up by `by`."""
    # kata: begin
    return x + by
    # kata: end
'''

CORE = '''\
"""Stage 1. The definition."""

import pytest

from dojo.testing import expect_equal
from katas.tiny import double, shift


@pytest.mark.parametrize("x", [0, 1, 5])
def test_double_is_twice_as_much(x):
    """The definition."""
    expect_equal(double(x), 2 * x, what=f"double({x})", hint="add x to itself")


def test_shift_moves_up():
    """The definition."""
    expect_equal(shift(2, 5), 7, what="shift(2, 5)", hint="up, not down")
'''

EDGES = '''\
"""Stage 2. Limits."""

from dojo.testing import expect_equal, expect_raises
from katas.tiny import double, shift


def test_shift_moves_by_three_unless_told():
    """The default is part of the interface."""
    expect_equal(shift(4), 7, what="shift(4)", hint="by = 3")


def test_a_negative_number_is_an_error():
    """A limit."""
    with expect_raises(ValueError, what="double(-1)", hint="check x first"):
        double(-1)
'''

TESTS = {"test_1_core.py": CORE, "test_2_edges.py": EDGES}

PROBE = '''\
"""Observes tiny."""

from dojo.testing.probes import Case


def cases(rng):
    for x in (0, 1, 5, -1):
        yield Case(f"double {x}", of="double", x=x)
    yield Case("shift 2 5", of="shift", arguments=(2, 5))
    yield Case("shift 4", of="shift", arguments=(4,))
    any_number = rng.initial_seed() % 1000 + 10
    yield Case("double any", of="double", x=any_number)
    yield Case("shift any", of="shift", arguments=(any_number, 3))


def run(kata, case):
    if case.of == "double":
        return {"doubled": kata.double(case.x)}
    return {"shifted": kata.shift(*case.arguments)}
'''

MISTAKES = """\
[[mistake]]
name = "squares"
says = "x is multiplied by itself"
old = "x * 2"
new = "x * x"
caught_by = "test_double_is_twice_as_much"

[[mistake]]
name = "moves down"
says = "`by` is subtracted"
old = "x + by"
new = "x - by"
caught_by = "test_shift_moves_up"
"""

DESCRIPTION = """\
title = "{name} in two functions"
track = "numbers"
level = "warm-up"
asked = "often"
minutes = 5
question = "How would you double?"
stages = ["the definition", "limits"]
hints = ["the idea", "the structure", "the detail"]

[[follow_up]]
question = "And triple?"
answer = "Add once more."
"""


def make_checkout(root: Path) -> Checkout:
    """A checkout with the real switch, conftest and pytest configuration, and no kata yet."""
    checkout = Checkout(root.resolve())
    for file in ("conftest.py", "pyproject.toml"):
        checkout.root.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, checkout.root / file)
    for folder in ("katas", "solutions", "tests", "notebooks"):
        (checkout.root / folder).mkdir()
    list_katas(checkout)
    return checkout


def list_katas(checkout: Checkout, *names: str) -> None:
    """Writes a catalogue of these katas."""
    lines = "".join(f'    "{name}",\n' for name in names)
    checkout.catalog.write_text(f'tracks = ["numbers"]\n\nkatas = [\n{lines}]\n')


def add_kata(
    checkout: Checkout,
    name: str = "tiny",
    *,
    solution: str = SOLUTION,
    tests: Mapping[str, str] = TESTS,
    probe: str = PROBE,
    mistakes: str = MISTAKES,
) -> None:
    """One whole kata, its name in the catalogue, and the learner's file, still the stub."""
    checkout.tests(name).mkdir()
    checkout.description(name).write_text(DESCRIPTION.format(name=name))
    checkout.reference(name).write_text(solution)
    checkout.stub(name).write_text(render(solution, name))
    for file, text in tests.items():
        (checkout.tests(name) / file).write_text(text.replace("katas.tiny", f"katas.{name}"))
    checkout.probe(name).write_text(probe)
    checkout.mistakes(name).write_text(mistakes)
    list_katas(checkout, *tomllib.loads(checkout.catalog.read_text())["katas"], name)
    write(checkout.answer(name), render(solution, name))


def solve(checkout: Checkout, old: str = "", new: str = "", name: str = "tiny") -> None:
    """Saves the reference as the learner's file, with one change if given."""
    source = checkout.reference(name).read_text()
    assert old in source
    checkout.answer(name).write_text(source.replace(old, new) if old else source)


def record(checkout: Checkout, name: str, *verdicts: Verdict, how: str = "test") -> None:
    """Records a run of the learner's file as it is now: one test a stage, with these verdicts."""
    outcomes = [Outcome(f"test_{stage}", name, stage, verdict) for stage, verdict in enumerate(verdicts, 1)]
    sources = {name: digest(checkout.answer(name))}
    record_run(checkout, outcomes, {name: len(outcomes)}, sources=sources, began=time.time(), how=how)


@dataclass(frozen=True)
class Session:
    """The result of one pytest session. `code` is its exit code; TaskDied when the process ended without one."""

    code: int | TaskDied
    output: str
    outcomes: tuple[Outcome, ...]

    def verdicts(self) -> dict[str, str]:
        return {outcome.test: outcome.verdict for outcome in self.outcomes}

    def message(self, test: str) -> str:
        return next(outcome.message for outcome in self.outcomes if outcome.test == test)


def pytest_in(checkout: Checkout, *arguments: str, dies: bool = False, **environment: str) -> Session:
    """`pytest ARGUMENTS` at the root of `checkout`, with these environment variables (KATAS_DIR is unset unless given).

    The test fails if the process ends without an exit code, or, with `dies`, if it does not.
    """
    log = checkout.root / "session.log"
    code, outcomes = in_child(partial(_session, checkout.root, log, arguments, environment), (None, ()))
    output = log.read_text(encoding="utf-8", errors="replace")
    assert isinstance(code, TaskDied) == dies, f"{code}\n{output}"
    return Session(code, output, outcomes)


def in_child(task: Callable[[], Any], otherwise: Any = None, *, timeout_s: float = 60) -> Any:
    """The result of `task` in a forked child that has imported no katas and no conftest. If the child dies, the test fails.

    With `otherwise` (a pair), a child that dies gives that pair, with TaskDied in the first place.
    """
    preload()
    (_, answer), *_ = run_forked([partial(_afresh, task)], jobs=1, seconds=timeout_s)
    if isinstance(answer, TaskDied):
        assert otherwise is not None, answer.why
        return (answer, *otherwise[1:])
    return answer


def _afresh(task: Callable[[], Any]) -> Any:
    for name in [name for name in sys.modules if name.partition(".")[0] in ("conftest", "katas", "tests", "test")]:
        del sys.modules[name]
    sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__module__", "") != "katas"]
    sys.path[:] = [folder for folder in sys.path if folder != str(SWITCH)]
    # Under tox, all sessions of all processes would keep what failed last in one folder (TOX_ENV_DIR).
    ours = ("KATA", "PYTEST", "PY_COLORS", "FORCE_COLOR", "TOX_")
    for variable in [name for name in os.environ if name.startswith(ours)]:
        del os.environ[variable]
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half a second
    return task()


def _session(root: Path, log: Path, arguments: Sequence[str], environment: dict[str, str]) -> Any:
    import pytest

    os.chdir(root)
    os.environ.update(environment)
    with log.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    keeper = SessionKeeper()
    code = int(pytest.main(list(arguments), plugins=[keeper]))
    sys.stdout.flush()
    sys.stderr.flush()
    return code, tuple(keeper.session.outcomes) if keeper.session else ()


def wait_for_pid(file: Path, timeout_s: float = 60) -> int:
    """The pid in `file`, which another process makes and then writes: it may be absent or empty at first."""
    end = time.monotonic() + timeout_s
    while not (file.exists() and file.read_text()) and time.monotonic() < end:
        time.sleep(0.01)
    return int(file.read_text())


def heed_ctrl_c() -> None:
    """For Popen's preexec_fn: a shell that runs the tests in the background ignores SIGINT, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
