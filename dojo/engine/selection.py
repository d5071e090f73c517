"""A pytest plugin: which of the collected tests run, by stage, and by what they measure or need."""

from collections.abc import Callable

import pytest


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
    """The stage that a test belongs to; 0 if it belongs to none."""
    mark = item.get_closest_marker("stage")
    return int(mark.args[0]) if mark else 0


def _deselect(config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]) -> None:
    config.hook.pytest_deselected(items=[item for item in items if unwanted(item)])
    items[:] = [item for item in items if not unwanted(item)]


def _is_speed_test(item: pytest.Item) -> bool:
    return "speed" in item.path.parts


def _needs_gpu(item: pytest.Item) -> bool:
    return item.get_closest_marker("gpu") is not None
