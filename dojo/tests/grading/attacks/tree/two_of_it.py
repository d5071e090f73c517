"""Two files, of which a grader could choose the better.

status: refused
reason: they differ; keep the one you mean
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").write_text("x = 1\n")
    (folder / "noise_schedules.py").write_text("x = 2\n")
