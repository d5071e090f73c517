"""Modules named like those that the grader imports, beside a wrong answer.

reason: there is no linear_betas in the file
"""

TEXT = "open('/tmp/kata-planted-shadow', 'w')\nraise SystemExit(0)\n"


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    for name in ("torch", "json", "numpy", "random", "jaxtyping", "warnings"):
        (folder / f"{name}.py").write_text(TEXT)
        (folder / "katas" / f"{name}.py").write_text(TEXT)
