"""Loads the attacks, runs them, and looks for what they leave behind; for the tests and for the table.

An attack is a small file in a folder named after its section. Its docstring says what it tries, and then `key: value`:

    kata:    the kata that it hands in (default: noise_schedules)
    status:  the status in the report (default: fail)
    reason:  a part of the sentence in the report
    policy:  a part of the sentence with which the policy refuses it; without this line the policy lets it through
    needs:   root or user, where it can only be tried as one of them

The file itself is handed in as the kata, unless it has a function build(folder) that makes the submission's folder.
An attack that reaches what it must not reach raises an exception with "GOT IT"; files that it writes are called
"kata-planted...". None of them harms the machine: bombs are bounded, and only the process that forked the worker is
ever signalled.
"""

import ast
import glob
import os
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import resource_tracker
from pathlib import Path

from dojo.core.paths import Checkout, find_checkout
from dojo.grading.grader import Grader
from dojo.grading.results import KataResult
from dojo.grading.sandbox.namespaces import NOBODY
from dojo.grading.sandbox.sandbox import FORK_SERVER
from dojo.grading.submission.intake import SubmittedFile, read_submission
from dojo.grading.submission.policy import review_each

HERE = Path(__file__).parent
SECTIONS = {
    "end_early": "end the run early",
    "patch_judge": "patch the judge",
    "find_answer": "find the answer",
    "forge_report": "forge the report",
    "tree": "files and the tree",
    "denial": "denial of service",
    "malformed": "malformed submissions",
    "speed": "speed claims",
    "opinions": "opinions instead of answers",
}
KATAS = ["noise_schedules", "top_k_sampling", "temperature_sampling", "ddpm", "lora_linear"]
SHORT, LONG = 0.05, 0.6  # the grader's patience with attacks that never end, and with the others


@dataclass(frozen=True)
class Attack:
    """One file of the suite."""

    section: str
    name: str
    tries: str
    text: str
    kata: str = "noise_schedules"
    status: str = "fail"
    reason: str = ""
    policy: str = ""
    needs: str = ""

    @property
    def id(self) -> str:
        return f"{self.section}/{self.name}"

    @property
    def patience(self) -> float:
        return SHORT if "still running" in self.reason else LONG

    def build(self, folder: Path) -> None:
        """Makes the submission in `folder`."""
        (folder / "katas").mkdir(parents=True)
        scope: dict = {}
        if "\ndef build(folder):" in self.text:
            exec(compile(self.text, self.name, "exec"), scope)
            scope["build"](folder)
        else:
            (folder / "katas" / f"{self.kata}.py").write_text(self.text, encoding="utf-8")


def load_attacks() -> list[Attack]:
    """All of them, in the order of the sections."""
    return [_load(section, path) for section in SECTIONS for path in sorted((HERE / section).glob("*.py"))]


def _load(section: str, path: Path) -> Attack:
    text = path.read_text(encoding="utf-8")
    tries, _, rest = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")
    keys = dict(line.split(": ", 1) for line in rest.splitlines() if ": " in line)
    return Attack(section, path.stem, " ".join(tries.split()), text, **keys)


@dataclass(frozen=True)
class Outcome:
    """The result of one attack."""

    result: KataResult
    refused: str  # the policy's sentence; empty if it lets the attack through
    survivors: tuple[str, ...]
    planted: tuple[str, ...]

    @property
    def reasons(self) -> str:
        """All sentences of the report."""
        return " | ".join([self.result.reason, *(case.reason for case in self.result.cases)])

    @property
    def gained(self) -> str:
        """What the attack has achieved; empty if it has failed."""
        gains = [f"{self.result.points:g} points"] if self.result.points else []
        if "GOT IT" in self.reasons:
            gains.append(self.reasons.partition("GOT IT: ")[2].split(" (line")[0].split("|")[0][:60].strip())
        if self.result.status == "error":
            gains.append(f"an error of the grader's ({self.result.reason[:200]})")
        gains += ["a process left"] if self.survivors else []
        return ", ".join(gains + (["a file left"] if self.planted else []))


def run_attacks(grader: Grader, attacks: list[Attack], folder: Path, together: int = 1) -> Iterator[Outcome]:
    """Grades the attacks in the sandbox, `together` at once, also those that the policy refuses.

    Processes and files that a group leaves behind are reported for each attack of the group.
    """
    with ThreadPoolExecutor(together) as pool:
        for begin in range(0, len(attacks), together):
            group = attacks[begin : begin + together]
            for number, attack in enumerate(group, begin):
                attack.build(folder / str(number))
            submitted = [
                read_submission(folder / str(number), [attack.kata], checkout=grader.checkout)[attack.kata]
                for number, attack in enumerate(group, begin)
            ]
            refused = _refused(grader, submitted)
            before = processes()
            results = list(pool.map(partial(_grade, grader), group, submitted))
            left, files = tuple(remaining(before).values()), planted()
            yield from (Outcome(*pair, left, files) for pair in zip(results, refused, strict=True))


def _refused(grader: Grader, submitted: list[SubmittedFile]) -> list[str]:
    """The policy's sentence about each file; empty for a file that it lets through."""
    files = [file for file in submitted if file.status == "ok"]
    findings = dict(zip(map(id, files), review_each(grader.checkout, files), strict=True))
    return [" ".join(f.sentence(f"katas/{t.kata}.py") for f in findings.get(id(t), ()) if f.refuses) for t in submitted]


def _grade(grader: Grader, attack: Attack, submitted: SubmittedFile) -> KataResult:
    return grade(grader, attack.kata, submitted, attack.patience)


def grade(grader: Grader, kata: str, submitted: SubmittedFile, patience: float = 1.0) -> KataResult:
    """Grades one file with more patience, or less."""
    return grader.grade_file(submitted, timeout_factor=patience)


def remaining(before: Collection[tuple[int, str]] = ()) -> dict[tuple[int, str], str]:
    """The processes that are not among `before` and do not end within two seconds.

    One that has been killed takes a moment to end, and other tests may start and end some meanwhile.
    """
    left = {pid: name for pid, name in processes().items() if pid not in before}
    for _ in range(20):
        if not left:
            break
        time.sleep(0.1)
        left = {pid: name for pid, name in processes().items() if pid in left}
    return left


def processes() -> dict[tuple[int, str], str]:
    """Descendants of this process other than its fork servers and its resource tracker, and orphans of the user nobody."""
    parents, names, begun, owners, servers = {}, {}, {}, {}, set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            before, _, after = (entry / "stat").read_text().rpartition(")")
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            owners[int(entry.name)] = entry.stat().st_uid
        except (OSError, ValueError):
            continue
        state, parent, *rest = after.split()
        if state == "Z":
            continue
        pid = int(entry.name)
        parents[pid], names[pid], begun[pid] = int(parent), f"{pid} {before[-16:]} {command[:80]}", rest[17]
        servers |= {pid} if str(FORK_SERVER) in command else set()
    descendants = {os.getpid()}
    for _ in range(20):
        descendants |= {pid for pid, parent in parents.items() if parent in descendants}
    orphans = {pid for pid, parent in parents.items() if parent == 1 and owners[pid] == NOBODY}
    expected = {pid for pid in servers if parents[pid] == os.getpid()} | {os.getpid()}
    expected |= {getattr(resource_tracker._resource_tracker, "_pid", None)}  # another test's; it ends with this process
    pids = (descendants - expected) | orphans
    return {(pid, begun[pid]): names[pid] for pid in pids if pid in begun}


@cache
def _places() -> tuple[str, ...]:
    import site
    import sys

    import torch

    root = find_checkout().root
    folders = [
        root, root / "dojo", root / "solutions", root / "katas", root / "grade", "/tmp", "/var/tmp", "/dev/shm", "/etc",
        Path.home(), "/root", "/home", "/home/*", *sys.path, *site.getsitepackages(), Path(torch.__file__).parent,
    ]  # fmt: skip
    return tuple({f"{folder or '.'}/kata-planted*" for folder in folders})


def planted() -> tuple[str, ...]:
    """Removes the files that attacks have left outside, and returns their paths."""
    files = tuple(path for place in _places() for path in glob.glob(place))
    for path in files:
        os.unlink(path)
    return files


def checkout() -> Checkout:
    return find_checkout(Path(__file__).parent)
