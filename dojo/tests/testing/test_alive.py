"""What a block of code holds at a time."""

import torch

from dojo.testing.alive import Alive


def test_what_is_dropped_no_longer_counts():
    with Alive() as alive:
        a = torch.zeros(100)
        b = a + 1
        assert alive.elements() == 200
        del b
        assert alive.elements() == 100
        a = a * 2  # both exist for a moment
    assert (alive.elements(), alive.peak) == (100, 200)
    assert a.sum() == 0


def test_shared_memory_counts_once_and_arguments_do_not():
    given = torch.zeros(100)
    with Alive() as alive:
        views = given[:50], given.view(10, 10).T, given.add_(1)
        assert alive.elements() == 0
        both = torch.ones(6).split(2)
        assert alive.elements() == 6
    assert len(views) == len(both) == 3


def test_what_a_graph_holds_is_alive():
    """exp keeps its result for the backward pass; a sum keeps nothing."""
    x = torch.zeros(100, requires_grad=True)
    with Alive() as alive:
        loss = x.exp().sum()
        assert alive.elements() == 101
        loss.backward()
        del loss
    assert alive.elements() == 100  # x.grad
