"""What plain `pytest` needs: which code is under test, the seed, the stages, and the fixtures of the katas' tests."""

import hashlib
import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
pytest_plugins = ["dojo.engine.plugin"]


def pytest_addoption(parser):
    group = parser.getgroup("katas")
    group.addoption(
        "--katas", metavar="DIR", help="the katas to test (write --katas=DIR); default: katas/, or KATAS_DIR"
    )
    group.addoption(
        "--kata-seed", metavar="N", type=int, default=0, help="seeds every test's inputs; any N gives the same verdict"
    )
    group.addoption("--stage", metavar="N", type=int, choices=(1, 2, 3, 4), help="only the tests of stages 1 to N")


def pytest_configure(config):
    directory = Path(config.getoption("--katas") or os.environ.get("KATAS_DIR") or ROOT / "katas").resolve()
    if not directory.is_dir():
        raise pytest.UsageError(
            f"--katas: {directory} is not a folder. Give one that holds kata files, e.g. --katas=solutions"
        )
    # Set before anything is imported; notebooks' kernels and other child processes inherit both.
    os.environ["KATAS_DIR"] = str(directory)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(ROOT) not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), *paths]))


def pytest_report_header(config):
    return under_test(config)


def pytest_sessionstart(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and (reporter.verbosity < 0 or reporter.no_header):  # the header is hidden; this line never is
        reporter.write_line(under_test(session.config))


def under_test(config) -> str:
    """Whose code this run tests: `katas: katas/ (yours), hash 1f3a9c2e, seed 0`."""
    directory = Path(os.environ["KATAS_DIR"])
    digest = hashlib.sha256()
    for file in sorted(directory.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    whose = {ROOT / "katas": "yours", ROOT / "solutions": "reference"}.get(directory, "another folder")
    shown = directory.relative_to(ROOT).as_posix() if directory.is_relative_to(ROOT) else directory
    return f"katas: {shown}/ ({whose}), hash {digest.hexdigest()[:8]}, seed {config.getoption('--kata-seed')}"


def pytest_collection_modifyitems(config, items):
    from dojo.testing.gpu import cuda_missing

    def leave_out(unwanted):
        config.hook.pytest_deselected(items=[item for item in items if unwanted(item)])
        items[:] = [item for item in items if not unwanted(item)]

    last = config.getoption("--stage")
    if last is not None:
        leave_out(lambda item: (mark := item.get_closest_marker("stage")) and mark.args[0] > last)
    if config.getoption("benchmark_only", False):
        leave_out(lambda item: "speed" not in item.path.parts)
    else:
        leave_out(lambda item: "speed" in item.path.parts and not item.get_closest_marker("gpu"))
    if any(item.get_closest_marker("gpu") for item in items) and (why := cuda_missing()):
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture
def seed(request) -> int:
    """The run's seed, for code that wants a number rather than a generator."""
    return request.config.getoption("--kata-seed")


@pytest.fixture
def rng(seed):
    """A CPU generator, fresh for each test; everything random in a test comes from it."""
    import torch

    # Another seed than the generator's: a layer must not start at the very numbers that the test feeds it.
    torch.default_generator.manual_seed(
        seed + 2**20
    )  # for what has no generator argument: layers' initial weights, dropout
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cost():
    """`with cost() as spent:` counts operators, FLOPs and bytes (dojo.testing.cost)."""
    from dojo.testing.cost import measure

    return measure
