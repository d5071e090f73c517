"""A coding line under which Python reads other code than people and the policy do.

status: refused
reason: names its own encoding ('utf-7')
"""


def build(folder):
    text = "# coding: utf-7\n+AGkAbQBwAG8AcgB0- os\n+AG8AcwAuAF8AZQB4AGkAdAAoADAAKQ-\n"
    (folder / "katas" / "noise_schedules.py").write_text(text)
