"""Another kata only.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""


def build(folder):
    (folder / "katas" / "other.py").write_text("x = 1\n")
