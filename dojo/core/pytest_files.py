"""The two files that let plain `pytest` work in a pack or a workspace."""

from pathlib import Path

TEMPLATES = Path(__file__).with_name("templates")
PYTEST_INI = (TEMPLATES / "pytest.ini").read_text(encoding="utf-8")
CONFTEST = (TEMPLATES / "conftest.py").read_text(encoding="utf-8")
