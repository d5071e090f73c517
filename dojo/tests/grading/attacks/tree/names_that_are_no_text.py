"""Names that are not UTF-8, that paint the terminal, and that are very long.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""

import os


def build(folder):
    where = os.fsencode(folder / "katas")
    for name in (
        b"\xff\xfe.py",
        b"\x1b[2J.py",
        b"noise_schedules.py\n",
        b"x" * 250 + b".py",
        b"noise\xcc\x81_schedules.py",
    ):
        open(os.path.join(where, name), "w").close()
