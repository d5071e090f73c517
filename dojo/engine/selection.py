"""A pytest plugin: which of the collected tests run, by stage, and by what they measure or need."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

STAGE_FILE = re.compile(r"test_([1-9])_\w+\.py")
SPEED_FILE = "test_speed.py"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leaves out the files of later stages: what they import may not be written yet."""
    last_stage = config.getoption("--stage")
    return True if last_stage is not None and _stage_of_file(collection_path) > last_stage else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from dojo.testing.gpu import cuda_missing

    last_stage = config.getoption("--stage")
    if last_stage is not None:
        _deselect(config, items, lambda item: stage_of(item) > last_stage)
    if config.getoption("benchmark_only", False):
        _deselect(config, items, lambda item: not _is_speed_test(item))
    else:
        _deselect(config, items, lambda item: _is_speed_test(item) and not _needs_gpu(item))
    gpu_tests = [item for item in items if _needs_gpu(item)]
    if gpu_tests and (why := cuda_missing()):
        for item in gpu_tests:
            item.add_marker(pytest.mark.skip(reason=why))


def stage_of(item: pytest.Item) -> int:
    """The stage that a test belongs to, which is in its file's name (test_2_edges.py); 0 if it belongs to none."""
    return _stage_of_file(item.path)


def _stage_of_file(path: Path) -> int:
    match = STAGE_FILE.fullmatch(path.name)
    return int(match[1]) if match else 4 if path.name == SPEED_FILE else 0


def _deselect(config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if unwanted(item)])
    items[:] = [item for item in items if not unwanted(item)]


def _is_speed_test(item: pytest.Item) -> bool:
    return item.path.name == SPEED_FILE


def _needs_gpu(item: pytest.Item) -> bool:
    return item.get_closest_marker("gpu") is not None
