"""A folder katas/ that its owner may not enter (root may, and finds a wrong answer).

reason: The folder katas cannot be read
status: refused
needs: user
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    (folder / "other.py").write_text("x = 1\n")
    (folder / "katas").chmod(0)
