"""A link to the folder above, for whoever walks through folders.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""


def build(folder):
    (folder / "katas" / "again").symlink_to(folder)
    (folder / "katas" / "other.py").write_text("x = 1\n")
