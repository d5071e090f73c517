"""A file of a gigabyte that takes no room.

status: refused
reason: is larger than 64 kB
"""

import os


def build(folder):
    with open(folder / "katas" / "noise_schedules.py", "w") as file:
        os.truncate(file.fileno(), 2**30)
