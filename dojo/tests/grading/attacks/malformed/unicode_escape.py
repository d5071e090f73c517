"""Another such coding line, in which a comment is code.

status: refused
reason: names its own encoding
"""


def build(folder):
    text = "# coding: unicode_escape\n# \\u000aimport os; os._exit(0)\n"
    (folder / "katas" / "noise_schedules.py").write_text(text)
