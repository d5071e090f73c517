"""A hard link to a file that somebody else owns and that is no answer.

reason: there is no linear_betas in the file
"""

import os


def build(folder):
    (folder / "elsewhere.py").write_text("x = 1\n")
    os.link(folder / "elsewhere.py", folder / "katas" / "noise_schedules.py")
