"""A folder named noise_schedules.py, with the answer in it.

status: refused
reason: is a folder
"""


def build(folder):
    (folder / "katas" / "noise_schedules.py").mkdir()
    (folder / "katas" / "noise_schedules.py" / "__init__.py").write_text("x = 1\n")
