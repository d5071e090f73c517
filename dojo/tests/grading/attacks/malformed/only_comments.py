"""Good intentions.

reason: there is no linear_betas in the file
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("# I shall write it tomorrow.\n")
