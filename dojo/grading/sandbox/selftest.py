"""Tests the sandbox before anything is graded: a bundled hostile submission tries what each layer must refuse.

From what was refused follows the level that this machine reaches.
"""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dojo.core.errors import UserError
from dojo.grading.results import LEVELS
from dojo.grading.sandbox import paths, selftest_submission
from dojo.grading.sandbox.faults import CannotIsolate, DidNotStart, GraderFault
from dojo.grading.sandbox.isolation import LAYERS, why_unavailable
from dojo.grading.sandbox.sandbox import Sandbox
from dojo.grading.sandbox.session import Ended, Task
from dojo.testing.probes import Case

MEANING = {
    "bare": "evidence is judged outside the submission's process, and nothing else holds",
    "sealed": "evidence is judged outside, time and memory are bounded",
    "fenced": "sealed, and no files, network, processes or programs of others",
    "isolated": "fenced, and another user in a process tree of its own",
}
PROBE = "def cases(rng):\n    yield from ()\ndef run(kata, case):\n    return {'result': kata.attempt(case)}\n"
NAMESPACES_ALONE = ("run as the grader's user", "live in the grader's process tree")  # no other layer refuses these
OPTIONAL = ("namespaces", "landlock", "seccomp")  # layers that a system may refuse although it seems to have them


@dataclass(frozen=True)
class SelfTest:
    """What holds on this machine: the level, the layers that apply, and the result of each attempt ("done", or refused)."""

    level: str
    layers: tuple[str, ...]
    why_off: dict[str, str]
    attempts: dict[str, str]

    def layer_states(self) -> dict[str, str]:
        """For the report: each layer, "on" or why it is off."""
        return {name: "on" if name in self.layers else self.why_off.get(name, "switched off") for name in LAYERS}


def run_selftest(
    sandbox: Sandbox, without: tuple[str, ...] = (), references: Path = paths.CHECKOUT / "solutions"
) -> SelfTest:
    """Applies every layer that this machine has, except `without`, and tests each. Raises GraderFault."""
    why_off = {name: why for name, why in why_unavailable().items() if why}
    layers = [name for name in LAYERS if name not in without and name not in why_off]
    failed_before = False
    while True:
        try:
            attempts = _run_attempts(sandbox, tuple(layers), str(references))
            return SelfTest(_level(layers, attempts), tuple(layers), why_off, attempts)
        except GraderFault as fault:
            refused = next((name for name in OPTIONAL if name in layers), None)
            if failed_before and (refused is None or isinstance(fault, DidNotStart)):
                raise
            if refused and (failed_before or isinstance(fault, CannotIsolate)):
                # A container may look like root and still be refused namespaces: go on without them, and say so.
                layers.remove(refused)
                why_off[refused] = f"refused by this system ({str(fault)[:200]})"
                failed_before = False
            else:  # anything else may pass: no layer is given up for it before a second try, with a new fork server
                sandbox.close()
                failed_before = True


def require(self_test: SelfTest, level: str) -> None:
    """Raises UserError if this machine reaches less than `level`."""
    if LEVELS.index(self_test.level) >= LEVELS.index(level):
        return
    off = "; ".join(f"{name} {why}" for name, why in self_test.layer_states().items() if why != "on")
    done = ", ".join(name for name, result in self_test.attempts.items() if result == "done")
    raise UserError(
        f"This machine reaches level {self_test.level!r} ({MEANING[self_test.level]}), and --require asks for {level!r}. "
        f"Off: {off or 'no layer is off'}."
        + (f" A hostile kata could {done}." if done else "")
        + " Nothing was graded."
    )


def _run_attempts(sandbox: Sandbox, layers: tuple[str, ...], references: str) -> dict[str, str]:
    """The results of the hostile submission under these layers, by the name of the attempt."""
    source = Path(selftest_submission.__file__).read_text(encoding="utf-8")
    task = Task("selftest", source, PROBE, layers=layers, case_seconds=20, seconds=60)
    with tempfile.TemporaryDirectory(prefix="kata-selftest-") as outside:
        os.chmod(outside, 0o777)  # open to every user, as a checkout is: only the sandbox may keep the submission out
        secret = Path(outside) / "secret"
        secret.write_text("the answer")
        secret.chmod(0o644)
        inputs = {"outside": outside, "references": references, "grader": os.getpid()}
        results = {}
        try:
            with sandbox.run(task) as session:
                session.load()
                for name in selftest_submission.ATTEMPTS:
                    case = Case(name, of="attempt", attempt=name, **inputs)
                    results[name] = str(session.observe(case, 0).get("result"))
        except Ended as ended:
            raise GraderFault(f"the self-test's submission {ended}") from ended
        if (Path(outside) / "planted").exists():
            results["write a file outside"] = "done"
    return results


def _level(layers: list[str], attempts: dict[str, str]) -> str:
    done = {name for name, result in attempts.items() if result == "done"}
    if "limits" not in layers:
        return "bare"
    if done - set(NAMESPACES_ALONE):
        return "sealed"
    return "fenced" if done else "isolated"
