"""Code that hides far to the right.

status: refused
reason: line 1, is 1009 characters long
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text(f"x = 1;{' ' * 1000}y=2\n")
