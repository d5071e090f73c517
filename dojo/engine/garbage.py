"""A pytest plugin: the garbage collector leaves alone what collecting the tests has imported.

Walking over torch's objects again and again took a third of the computing time of a short run.
"""

import gc

import pytest


def pytest_collectstart(collector: pytest.Collector) -> None:
    if isinstance(collector, pytest.Session):
        gc.disable()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()
