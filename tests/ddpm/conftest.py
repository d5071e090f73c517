"""The fixtures of these tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def grad_mode():
    """A loop that leaves gradients switched off must not spoil the tests after it."""
    with torch.enable_grad():
        yield
