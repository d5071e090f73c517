"""A file that its owner may not read (root may).

status: refused
reason: cannot be read
needs: user
"""


def build(folder):
    path = folder / "katas" / "noise_schedules.py"
    path.write_text("x = 1\n")
    path.chmod(0)
