"""Puts the katas into the wheel, and not into an editable installation, which has them in its clone.

They go into share/ and not into `dojo`, which a submission that is being graded may read.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KATAS = {
    "katas": "share/katas/katas",
    "solutions": "share/katas/solutions",
    "tests": "share/katas/tests",
    "dojo/core/templates/pytest.ini": "share/katas/pytest.ini",
}


class KatasInTheWheel(BuildHookInterface):
    """Called by hatchling before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["shared_data"].update(KATAS)
