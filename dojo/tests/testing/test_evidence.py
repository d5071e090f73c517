"""What probes share: each helper tells the right case from the wrong one."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dojo.testing.evidence import few_lines, finite, peak_bytes, refused, traces


def test_only_a_value_error_is_a_refusal():
    assert refused(lambda: int("no number"))
    assert not refused(lambda: [][0])
    assert not refused(lambda: None)


def test_an_unwritten_stub_is_no_evidence():
    def unwritten():
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        refused(unwritten)


def test_memory_is_that_of_the_call():
    held = np.zeros(10**6)
    assert 8e5 <= peak_bytes(lambda: np.zeros(10**5)) <= 9e5
    assert peak_bytes(held.sum) < 1e5


def test_what_is_not_finite_is_a_word():
    right = torch.ones(2)
    assert finite(right) is right
    assert finite(3.0) == 3.0
    assert finite(torch.tensor([1.0, torch.inf])) == finite(torch.tensor([torch.nan])) == "not finite"


def test_lines_are_counted():
    kata = SimpleNamespace(__file__=__file__)

    def loop(rounds):
        for _ in range(rounds):
            pass

    assert few_lines(lambda: loop(3), kata, 20)
    assert not few_lines(lambda: loop(30), kata, 20)


def test_what_a_call_does_to_its_arguments():
    a = np.ones(3)
    assert traces(lambda: [a * 2, 1.0], [a, "word"]) == [False, False]
    assert traces(lambda: [a[:2]], [a]) == [False, True]
    assert traces(lambda: [a.__iadd__(1).copy()], [a]) == [True, False]
