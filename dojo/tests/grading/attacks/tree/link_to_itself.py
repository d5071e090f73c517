"""A link that leads to itself.

status: refused
reason: is a link
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").symlink_to("noise_schedules.py")
