"""The fixtures of these tests."""

import pytest


@pytest.fixture
def path(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    return folder / "last.pt"
