"""The limit of what may compute or wait without end."""

import itertools
import time

import pytest

from dojo.engine.hang import OutOfTime, time_limit


def test_what_computes_without_end_is_stopped():
    """After the limit."""
    with pytest.raises(OutOfTime), time_limit(0.05):
        sum(1 for _ in itertools.count())


def test_what_waits_without_end_is_stopped_later():
    """It uses no computing time."""
    began = time.process_time()
    with pytest.raises(OutOfTime), time_limit(0.02):
        time.sleep(3600)
    assert time.process_time() - began < 0.02


def test_a_busy_machine_takes_nothing_away():
    """Others compute while this process waits for its turn."""
    with time_limit(0.1):
        time.sleep(0.3)
