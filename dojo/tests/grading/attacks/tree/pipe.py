"""A pipe that nobody writes to.

status: refused
reason: is a pipe
"""

import os


def build(folder):
    os.mkfifo(folder / "katas" / "noise_schedules.py")
