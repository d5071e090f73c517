"""Imports another kata.

reason: cannot be imported
policy: each kata is graded alone
"""


def build(folder):
    (folder / "katas" / "ddpm.py").write_text("x = 1\n")
    (folder / "katas" / "noise_schedules.py").write_text("from .ddpm import x\n")
