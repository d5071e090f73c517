"""A hard link to a file that somebody else owns and that is no answer.

reason: AttributeError
"""

import os


def build(folder):
    (folder / "elsewhere.py").write_text("x = 1\n")
    os.link(folder / "elsewhere.py", folder / "katas" / "noise_schedules.py")
