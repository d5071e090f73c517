"""`kata update`: a newer commit of the clone, and newer stubs under the learner's answers; both can be taken back.

Each update that changed an answer or the commit leaves a folder in .dojo/updates/, which --undo reads.
"""

import difflib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from dojo.core import answers
from dojo.core.errors import UserError
from dojo.core.files import backup, write
from dojo.core.language import say
from dojo.core.paths import Checkout

MAX_STUBS_TRIED = 40  # of a kata's history, to find the one that an answer was begun from


def pull(checkout: Checkout, record: Path) -> Iterator[str]:
    """Brings the clone to the newest commit of the branch that it follows. Yields what it does, in sentences."""
    yield from answers.prepare(checkout)
    lines = _git(checkout, "status", "--porcelain", "--", "katas").stdout.splitlines()
    edited = [checkout.root / line[3:] for line in lines if line[:2].strip() == "M" and line.endswith(".py")]
    for file in edited:
        copy = backup(checkout, file)
        _git(checkout, "checkout", "--quiet", "HEAD", "--", str(file))
    if edited:
        names = ", ".join(file.stem for file in edited)
        yield say(
            "Stubs again in katas/, with what stood there in {folder}/: {names}",
            folder=checkout.shown(copy.parent),
            names=names,
        )
    if _git(checkout, "rev-parse", "--verify", "--quiet", "@{upstream}").returncode:
        yield say("This branch follows no other, so there is nothing to fetch.")
        return
    before = _head(checkout)
    pulled = _git(checkout, "pull", "--ff-only", "--quiet")
    if pulled.returncode:
        raise UserError(
            say(
                "git pull --ff-only failed, and no answer was changed: {error}\n"
                "If you have commits of your own, merge first: git pull --no-rebase. Then again: kata update",
                error=pulled.stderr.strip() or pulled.stdout.strip(),
            )
        )
    after = _head(checkout)
    if after == before:
        yield say("This is the newest commit.")
        return
    write(record / "commits", f"{before} {after}\n")
    yield say("From commit {before} to {after}.", before=before[:9], after=after[:9])
    yield from _install(checkout, before, after)


def bring_up(checkout: Checkout, record: Path) -> Iterator[str]:
    """Merges newer stubs into the answers that were begun from older ones. Yields what it does, in sentences."""
    known = {file.stem for file in checkout.answers.glob("*.py")}
    for kata in sorted(known):
        yield from _bring_up(checkout, kata, record)
    yield from answers.prepare(checkout)
    if known and (new := sorted(file.stem for file in checkout.answers.glob("*.py") if file.stem not in known)):
        yield say("New katas: {names}", names=", ".join(new))


def undo(checkout: Checkout) -> Iterator[str]:
    """Takes the last update back: the commit, and the answers that it changed. Yields what it does, in sentences."""
    records = [folder for folder in sorted(_updates(checkout).glob("*")) if not folder.name.endswith("-undone")]
    if not records:
        folder = checkout.shown(_updates(checkout))
        raise UserError(say("There is no update to take back: {folder} holds none.", folder=folder))
    record = records[-1]
    commits = record / "commits"
    if commits.is_file():
        before, after = commits.read_text(encoding="utf-8").split()
        if _head(checkout) != after:
            raise UserError(
                say(
                    "The commit has changed since that update ({after}), so nothing was taken back. "
                    "By hand: git reset --keep {before}, and the old answers are in {folder}.",
                    after=after[:9],
                    before=before[:9],
                    folder=checkout.shown(record),
                )
            )
        done = _git(checkout, "reset", "--keep", before)
        if done.returncode:
            error = done.stderr.strip()
            raise UserError(
                say(
                    "git reset --keep {before} failed, so nothing was taken back: {error}",
                    before=before[:9],
                    error=error,
                )
            )
        yield say("Back at commit {before}.", before=before[:9])
        yield from _install(checkout, after, before)
    for old in sorted((record / "answers").glob("*.py")):
        file = checkout.answer(old.stem)
        if file.is_file() and file.read_bytes() != (record / "merged" / old.name).read_bytes():
            copy = checkout.shown(backup(checkout, file))
            yield say("{file} was edited since: a copy is in {copy}.", file=checkout.shown(file), copy=copy)
        write(file.resolve(), old.read_bytes())
        answers.note_base(checkout, old.stem, (record / "stubs" / old.name).read_bytes())
        yield say("{file} is as it was before the update.", file=checkout.shown(file))
    record.rename(record.with_name(f"{record.name}-undone"))


def new_record(checkout: Checkout, name: str = "") -> Path:
    """A folder for what --undo needs to know, called after the time. It is made by the first file in it."""
    return _updates(checkout) / (name or time.strftime("%Y%m%d-%H%M%S"))


def _updates(checkout: Checkout) -> Path:
    return checkout.state / "updates"


def _bring_up(checkout: Checkout, kata: str, record: Path) -> Iterator[str]:
    if not checkout.stub(kata).is_file():  # a file of the learner's own
        return
    try:
        answer = checkout.answer(kata).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        file = checkout.shown(checkout.answer(kata))
        yield say("{file} cannot be read ({error}), so it stays as it is.", file=file, error=error)
        return
    new = answers.learners_stub(checkout, kata)
    base = answers.base(checkout, kata)
    old = base.read_text(encoding="utf-8") if base.is_file() else _begun_from(checkout, kata, answer, new)
    if old == new:
        answers.note_base(checkout, kata, new)
    elif answer == old:
        answers.note_base(checkout, kata, old)  # `prepare` then replaces a file that nobody has edited
    else:
        merged, conflicts = _merge(answer, old, new)
        for folder, text in (("answers", answer), ("stubs", old), ("merged", merged)):
            write(record / folder / f"{kata}.py", text)
        write(checkout.answer(kata).resolve(), merged)
        answers.note_base(checkout, kata, new)
        file = checkout.shown(checkout.answer(kata))
        yield say("\n{kata}: its stub has changed, and {file} with it.", kata=kata, file=file)
        yield from (f"    {line}" for line in _difference(old, new))
        if conflicts:
            yield from say(
                "Where you have changed the same lines, yours stayed. Look at these; the whole stub is in \n"
                "{stub}, and your file as it was in {folder}/answers/.",
                stub=checkout.shown(checkout.stub(kata)),
                folder=checkout.shown(record),
            ).split("\n")


def _merge(answer: str, old: str, new: str) -> tuple[str, bool]:
    """The answer with the change from `old` to `new`, and whether both change the same lines (then the answer's stay)."""
    with tempfile.TemporaryDirectory(prefix="kata-") as folder:
        files = [Path(folder) / name for name in ("answer", "old", "new")]
        for file, text in zip(files, (answer, old, new), strict=True):
            file.write_text(text, encoding="utf-8")
        command = [_git_program(), "merge-file", "-p", "--ours", *map(str, files)]
        merged = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
        conflicts = subprocess.run([*command[:3], *command[4:]], capture_output=True, check=False)
    return merged.stdout, conflicts.returncode != 0


def _difference(old: str, new: str) -> list[str]:
    names = say("the old stub"), say("the new stub")
    return list(difflib.unified_diff(old.splitlines(), new.splitlines(), *names, lineterm="", n=1))


def _begun_from(checkout: Checkout, kata: str, answer: str, new: str) -> str:
    """The stub in the clone's history that is most like `answer`, which was put there by hand; `new` if none is known."""
    path = checkout.stub(kata).relative_to(checkout.root).as_posix()
    commits = _git(checkout, "log", f"-{MAX_STUBS_TRIED}", "--format=%H", "--", path).stdout.split()
    stubs = [new, *(_git(checkout, "show", f"{commit}:{path}").stdout for commit in commits)]
    return max(stubs, key=lambda text: difflib.SequenceMatcher(None, text.splitlines(), answer.splitlines()).ratio())


def _install(checkout: Checkout, before: str, after: str) -> Iterator[str]:
    """Installs what the new commit needs, if that is not what the old one needs."""
    if not _git(checkout, "diff", "--name-only", before, after, "--", "requirements.txt", "pyproject.toml").stdout:
        return
    command = ["-m", "pip", "install", "-q", "-r", "requirements.txt"]
    yield say("Other libraries are needed: pip install -q -r requirements.txt")
    if subprocess.run([sys.executable, *command], cwd=checkout.root, check=False).returncode:
        raise UserError(say("They could not be installed. Run that line yourself, and then: kata update"))


def is_clone(checkout: Checkout) -> bool:
    """Whether the learner works in a clone, which git can bring up to date."""
    return checkout.work == checkout.root and (checkout.root / ".git").exists()


def _head(checkout: Checkout) -> str:
    return _git(checkout, "rev-parse", "HEAD").stdout.strip()


def _git(checkout: Checkout, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [_git_program(), "-C", str(checkout.root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def _git_program() -> str:
    if not (program := shutil.which("git")):
        raise UserError(say("An update needs git, which is not installed here. Your answers stay as they are."))
    return program
