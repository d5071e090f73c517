"""One function of four, and that one wrong.

reason: has no attribute 'cosine_betas'
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("def linear_betas(steps, start=0, end=1):\n    return 0\n")
