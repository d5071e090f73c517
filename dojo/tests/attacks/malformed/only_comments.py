"""Good intentions.

reason: AttributeError
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("# I shall write it tomorrow.\n")
