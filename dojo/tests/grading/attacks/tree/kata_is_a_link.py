"""The kata is a link to the reference.

status: refused
reason: is a link
"""

from dojo.core.paths import find_checkout


def build(folder):
    (folder / "katas" / "noise_schedules.py").symlink_to(find_checkout().reference("noise_schedules"))
