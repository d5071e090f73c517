"""The folder answers/ is a link to the references. Nothing in it counts, and katas/ is graded.

status: not_attempted
reason: There is no katas/noise_schedules.py
"""

from dojo.core.paths import find_checkout


def build(folder):
    (folder / "answers").symlink_to(find_checkout().solutions, target_is_directory=True)
    (folder / "katas" / "other.py").write_text("x = 1\n")
