"""Five thousand files beside a wrong answer.

reason: there is no linear_betas in the file
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    for number in range(5000):
        (folder / "katas" / f"a{number}.py").touch()
