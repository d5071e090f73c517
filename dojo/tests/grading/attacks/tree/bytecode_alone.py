"""Only compiled code.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""

import py_compile

from dojo.core.paths import find_checkout


def build(folder):
    source = find_checkout().reference("noise_schedules")
    py_compile.compile(str(source), cfile=str(folder / "katas" / "noise_schedules.pyc"))
    (folder / "katas" / "other.py").write_text("x = 1\n")
