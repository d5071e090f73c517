"""The name in capitals, which some file systems take for the same.

status: not_attempted
reason: rename it to noise_schedules.py
"""


def build(folder):
    (folder / "katas" / "Noise_Schedules.py").write_text("x = 1\n")
