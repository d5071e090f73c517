"""One function of four, and that one wrong.

reason: there is no cosine_betas in the file
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("def linear_betas(steps, start=0, end=1):\n    return 0\n")
