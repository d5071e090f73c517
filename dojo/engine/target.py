"""Which katas a pytest session tests: the learner's answers, the reference, or those of another folder."""

import hashlib
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from dojo.core.answers import prepare
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.paths import Checkout

SWITCH = Path(__file__).with_name("switch")  # on the import path, its katas.py takes the place of the folder katas/


def child_environment(checkout: Checkout, directory: Path) -> dict[str, str]:
    """The environment variables with which a Python process imports `katas` from `directory`, in whatever folder it runs."""
    paths = [str(SWITCH), str(checkout.root), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    workspace = {"KATA_WORKSPACE": str(checkout.workspace)} if checkout.workspace else {}
    return {"KATAS_DIR": str(directory), "PYTHONPATH": os.pathsep.join(dict.fromkeys(filter(None, paths))), **workspace}


class Target:
    """The folder of the katas under test. Sets it for this process and its children, and names it in the header."""

    def __init__(self, config: pytest.Config, checkout: Checkout) -> None:
        self.config, self.checkout = config, checkout
        chosen = config.getoption("--katas") or os.environ.get("KATAS_DIR")
        self.notices = [] if chosen else self._prepare_answers()
        self.directory = Path(chosen or checkout.answers).resolve()
        if not self.directory.is_dir():
            raise pytest.UsageError(
                say(
                    "--katas: {folder} is not a folder. Give one that holds kata files, e.g. --katas=solutions",
                    folder=self.directory,
                )
            )
        # Set before any kata is imported. Child processes, such as the kernels of notebooks, inherit the environment.
        os.environ.update(child_environment(checkout, self.directory))
        if str(SWITCH) not in sys.path:
            sys.path.insert(0, str(SWITCH))
        # The katas' tensors are small: more threads only wait for each other, which costs most on a busy machine.
        os.environ.setdefault("OMP_NUM_THREADS", "1")

    def _prepare_answers(self) -> list[str]:
        """Makes the learner's files, so that plain `pytest` needs no other command. Returns what they should know."""
        try:
            return prepare(self.checkout)
        except UserError as error:
            raise pytest.UsageError(str(error)) from error

    def pytest_report_header(self) -> list[str]:
        return [self.header(), *self.notices]

    def pytest_sessionstart(self) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter and (reporter.verbosity < 0 or reporter.no_header):  # with -q too, this line is printed
            for line in (self.header(), *self.notices):
                reporter.write_line(line)

    def header(self) -> str:
        """ "katas: answers/ (yours), hash 1f3a9c2e, seed 0"; equal hashes mean equal code."""
        digest = hashlib.sha256()
        for file in sorted(self.directory.glob("*.py")):
            if file.is_file():  # editors leave links to nowhere
                with suppress(OSError):
                    digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
        owners = {
            self.checkout.answers: say("yours"),
            self.checkout.solutions: say("reference"),
            self.checkout.katas: say("stubs"),
        }
        other = say("another folder")
        return say(
            "katas: {folder}/ ({owner}), hash {hash}, seed {seed}",
            folder=self.checkout.shown(self.directory),
            owner=owners.get(self.directory, other),
            hash=digest.hexdigest()[:8],
            seed=self.config.getoption("--kata-seed"),
        )
