"""Which layers stand here: the bundled hostile kata tries everything first, and what it was refused gives the level."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dojo.core.errors import UserError
from dojo.grading.results import LEVELS
from dojo.grading.sandbox.isolation import LAYERS, available
from dojo.grading.sandbox.sandbox import Cell, Ended, GraderFault, Task
from dojo.grading.sandbox.selftest_submission import ATTEMPTS
from dojo.testing.probes import Case

MEANING = {
    "bare": "evidence is judged outside the submission's process, and nothing else holds",
    "sealed": "evidence is judged outside, time and memory are bounded",
    "fenced": "sealed, and no files, network, processes or programs of others",
    "isolated": "fenced, and another user in a process tree of its own",
}
PROBE = "def cases(rng):\n    yield from ()\ndef run(kata, case):\n    return {'came': kata.attempt(case.attempt, case.outside, case.parent)}\n"
FROM_OUTSIDE = ("run as the grader's user", "live in the grader's process tree")


@dataclass(frozen=True)
class Standing:
    """What holds on this machine."""

    level: str
    layers: tuple[str, ...]  # the raised ones
    why_off: dict[str, str]
    attempts: dict[str, str]

    def told(self) -> dict[str, str]:
        """For the report: each layer, "on" or why it is off."""
        return {name: "on" if name in self.layers else self.why_off.get(name, "switched off") for name in LAYERS}


def stand(cell: Cell, without: tuple[str, ...] = ()) -> Standing:
    """Raises every layer that this machine has, but those in `without`, and tries them. Raises GraderFault."""
    why_off = {name: why for name, why in available().items() if why}
    wanted = [name for name in LAYERS if name not in without and name not in why_off]
    while True:
        try:
            attempts = _try(cell, tuple(wanted))
            return Standing(_level(wanted, attempts), tuple(wanted), why_off, attempts)
        except GraderFault as fault:
            # A container may look like root and still not be allowed namespaces: go on without, and say so.
            for name in ("namespaces", "landlock", "seccomp"):
                if name in wanted:
                    wanted.remove(name)
                    why_off[name] = f"refused by this system ({str(fault)[:200]})"
                    break
            else:
                raise


def require(standing: Standing, level: str) -> None:
    """Raises UserError when this machine reaches less than `level`."""
    if LEVELS.index(standing.level) >= LEVELS.index(level):
        return
    off = "; ".join(f"{name} {why}" for name, why in standing.told().items() if why != "on") or "no layer is off"
    let = ", ".join(name for name, came in standing.attempts.items() if came == "done")
    raise UserError(
        f"This machine reaches level {standing.level!r} ({MEANING[standing.level]}), and --require asks for {level!r}. "
        f"Off: {off}." + (f" A hostile kata could {let}." if let else "") + " Nothing was graded."
    )


def _try(cell: Cell, layers: tuple[str, ...]) -> dict[str, str]:
    source = Path(__file__).with_name("selftest_submission.py").read_text(encoding="utf-8")
    task = Task("canary", source, PROBE, layers=layers, case_seconds=20, seconds=60)
    with tempfile.TemporaryDirectory(prefix="kata-canary-") as outside:
        os.chmod(outside, 0o777)  # open to every user, as a checkout is: only a fence may keep the canary out
        (Path(outside) / "secret").write_text("the answer")
        os.chmod(Path(outside) / "secret", 0o644)
        found = {}
        try:
            with cell.run(task) as session:
                session.load()
                for name in ATTEMPTS:
                    case = Case(name, of="attempt", attempt=name, outside=outside, parent=os.getpid())
                    found[name] = str(session.observe(case, 0).get("came"))
        except Ended as ended:
            raise GraderFault(f"the canary {ended}") from ended
        if (Path(outside) / "planted").exists():
            found["write a file outside"] = "done"
    return found


def _level(layers: list[str], attempts: dict[str, str]) -> str:
    done = {name for name, came in attempts.items() if came == "done"}
    if "limits" not in layers:
        return "bare"
    if done - set(FROM_OUTSIDE):
        return "sealed"
    return "fenced" if done else "isolated"
