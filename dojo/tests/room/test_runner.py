"""The one thread that runs the katas of all windows: what it runs, what it leaves out, and what stops nothing."""

import time

import pytest

from dojo.practice.headless import Headless
from dojo.progress.attempts import read_attempts
from dojo.room.runner import Runner, Shown
from dojo.tests.checkouts import solve


@pytest.fixture
def runner(checkout, catalog):
    runner = Runner(checkout, catalog)
    yield runner
    runner.close()


def shows(runner, text, seconds=40):
    """Waits until the windows of the kata read `text`."""
    end = time.monotonic() + seconds
    while text not in runner.shown.get("tiny", Shown()).verdict:
        assert time.monotonic() < end, runner.shown
        time.sleep(0.02)


def test_a_fault_of_ours_costs_a_sentence_and_the_next_save_runs(checkout, catalog, runner, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("a wire is loose")

    with monkeypatch.context() as broken:
        broken.setattr(Headless, "run", fails)
        runner.submit(catalog["tiny"])
        shows(runner, "a fault of the trainer (RuntimeError(&#39;a wire is loose&#39;))")
    solve(checkout)
    runner.submit(catalog["tiny"])
    shows(runner, "Solved")


def test_the_newest_save_ends_the_run_of_an_older_one(checkout, catalog, runner):
    """One that hangs would take 20 seconds."""
    solve(checkout, "return x * 2", "while True: pass")
    runner.submit(catalog["tiny"])
    shows(runner, "Running")
    time.sleep(2)
    solve(checkout)
    began = time.monotonic()
    runner.submit(catalog["tiny"])
    shows(runner, "Solved")
    assert time.monotonic() - began < 10


def test_the_same_text_runs_once_unless_it_is_asked_for(checkout, catalog, runner):
    """Two windows tell of one save."""
    solve(checkout)
    for _ in range(3):
        runner.submit(catalog["tiny"])
        shows(runner, "Solved")
        time.sleep(0.3)
    assert [len(attempt.runs) for attempt in read_attempts(checkout)] == [1]
    version = runner.shown["tiny"].version
    runner.submit(catalog["tiny"], again=True)
    end = time.monotonic() + 40
    while len(read_attempts(checkout)[0].runs) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert runner.shown["tiny"].version > version
