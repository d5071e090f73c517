"""Folders in folders, five hundred deep, beside a wrong answer.

reason: there is no linear_betas in the file
"""

import os


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    here = os.getcwd()
    os.chdir(folder)
    for _ in range(500):
        os.mkdir("deep")
        os.chdir("deep")
    os.chdir(here)
